/* The network between the hosts of a test: a wire from each to each, with a delay, a loss and scissors.
 *
 * Runs in a network namespace of its own. A host is a namespace below it, held open by a child of ours, and has
 * one end of a veth pair; the other end is here, read and written as raw frames. IPv4 goes where the table of
 * addresses says, ARP is answered by us for all others, and the rest is dropped.
 *
 * A line on stdin is a command, and gets a line on stdout, "ok ..." or "error ...":
 *
 *   host NAME REGION          a new namespace: "ok PID NUMBER"
 *   open NAME INTERFACE       read and write our end; its other end, eth0, must be there
 *   address NAME IPV4         that address is this host's now, whoever had it before
 *   forget IPV4               it is nobody's
 *   delay REGION REGION US    microseconds one way, in both directions; inside a region when it is there twice
 *   loss REGION REGION PPM    likewise, packets in a million
 *   partition NAME NAME       nothing passes between them, until
 *   heal NAME NAME
 *   down NAME / up NAME       nothing passes to or from it
 *   tick US                   microseconds between two rounds of work
 *   count                     "ok" and KEY=VALUE for each counter
 *
 * All packets of a pair of regions wait equally long, so a queue for each pair is in order by itself. There is a
 * round of work at most every tick: arrivals are gathered, which makes delays longer by that at most, and wakes
 * the hosts less often.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_HOSTS = 64,
    MAX_REGIONS = 8,
    MAX_ADDRESSES = 256,
    MAX_FRAME = 1600,  /* an MTU of 1500, and the header of Ethernet; none is longer without offloads */
    MAX_WAITING = 32768, /* half a second of what 200 calls send over two hops */
    BATCH = 64,
};

typedef struct {
    char name[64];
    int region, fd;
    pid_t pid;
    bool is_down;
} Host;

typedef struct Frame {
    struct Frame *next;
    int64_t due;
    uint16_t from, to, length;
    uint8_t data[MAX_FRAME];
} Frame;

typedef struct {
    Frame *first, *last;
    int64_t delay;
    uint32_t loss; /* in a million */
} Wire;

typedef struct {
    uint32_t ip;
    int host;
} Owner;

enum { FORWARDED, BYTES, LOST, CUT, UNKNOWN, FULL, LONG, REFUSED, ARP, COUNTERS };
static const char *const counter_names[] = {"forwarded", "bytes", "lost", "cut",    "unknown",
                                            "full",      "long",  "refused", "arp"};

static Host hosts[MAX_HOSTS];
static char regions[MAX_REGIONS][64];
static Owner owners[MAX_ADDRESSES];
static Wire wires[MAX_REGIONS][MAX_REGIONS];
static bool is_cut[MAX_HOSTS][MAX_HOSTS];
static int host_count, region_count, owner_count, waiting;
static int64_t tick = 150000; /* nanoseconds */
static Frame *pool;
static uint64_t counters[COUNTERS];
static uint64_t draw_state = 0x9e3779b97f4a7c15u; /* each run loses the same packets, counted */

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static uint32_t draw(void) {
    draw_state ^= draw_state << 13, draw_state ^= draw_state >> 7, draw_state ^= draw_state << 17;
    return draw_state % 1000000;
}

/* Names */

static int find_host(const char *name) {
    for (int i = 0; i < host_count; i++)
        if (!strcmp(hosts[i].name, name)) return i;
    return -1;
}

static int find_region(const char *name) {
    for (int i = 0; i < region_count; i++)
        if (!strcmp(regions[i], name)) return i;
    if (region_count == MAX_REGIONS || strlen(name) >= sizeof regions[0]) return -1;
    strcpy(regions[region_count], name);
    return region_count++;
}

static int find_owner(uint32_t ip) {
    for (int i = 0; i < owner_count; i++)
        if (owners[i].ip == ip) return owners[i].host;
    return -1;
}

static void set_mac(uint8_t *mac, int host) {
    /* Ours is that of no host. */
    uint8_t value[6] = {2, 0x76, 0x67, 0, 0, host < 0 ? 0xff : (uint8_t)host};
    memcpy(mac, value, 6);
}

/* Frames */

static Frame *take(void) {
    Frame *frame = pool;
    if (frame) pool = frame->next;
    return frame;
}

static void put_back(Frame *frame) {
    frame->next = pool;
    pool = frame;
}

static void answer_arp(int from, uint8_t *f, int length) {
    /* Ethernet 14, hardware and protocol 6, operation 2, sender MAC 6 and IP 4, target MAC 6 and IP 4 */
    uint32_t target;
    if (length < 42 || f[21] != 1) return;
    memcpy(&target, f + 38, 4);
    int owner = find_owner(target);
    if (owner < 0 || owner == from) return;
    memcpy(f + 32, f + 22, 10);
    memcpy(f, f + 6, 6);
    set_mac(f + 22, -1);
    memcpy(f + 28, &target, 4);
    memcpy(f + 6, f + 22, 6);
    f[21] = 2;
    counters[ARP]++;
    send(hosts[from].fd, f, 42, MSG_DONTWAIT);
}

/* Take a frame in; returns whether it was kept. */
static bool enter(int from, Frame *frame, int length, int64_t at) {
    uint8_t *f = frame->data;
    uint32_t ip;
    if (length < 14) return false;
    uint16_t type = f[12] << 8 | f[13];
    if (type == ETHERTYPE_ARP) return answer_arp(from, f, length), false;
    if (type != ETHERTYPE_IP || length < 34) return false;
    memcpy(&ip, f + 30, 4);
    int to = find_owner(ip);
    if (length > MAX_FRAME) return counters[LONG]++, false;
    if (to < 0 || to == from) return counters[UNKNOWN]++, false;
    Wire *wire = &wires[hosts[from].region][hosts[to].region];
    if (wire->loss && draw() < wire->loss) return counters[LOST]++, false;
    if (waiting >= MAX_WAITING) return counters[FULL]++, false;
    frame->next = NULL, frame->from = from, frame->to = to, frame->length = length;
    frame->due = at + wire->delay;
    if (wire->last)
        wire->last->next = frame;
    else
        wire->first = frame;
    wire->last = frame;
    waiting++;
    return true;
}

static void receive(int from) {
    static struct mmsghdr messages[BATCH];
    static struct iovec places[BATCH];
    static Frame *frames[BATCH];
    int64_t at = now();
    for (;;) {
        int room = 0;
        for (; room < BATCH; room++) {
            if (!frames[room] && !(frames[room] = take())) break;
            places[room] = (struct iovec){frames[room]->data, MAX_FRAME};
            messages[room].msg_hdr = (struct msghdr){.msg_iov = &places[room], .msg_iovlen = 1};
        }
        int got = recvmmsg(hosts[from].fd, messages, room, MSG_DONTWAIT | MSG_TRUNC, NULL);
        for (int i = 0; i < got; i++)
            if (enter(from, frames[i], messages[i].msg_len, at)) frames[i] = NULL;
        if (got < BATCH) return;
    }
}

/* Send frames of one destination, and put them back. */
static void leave(int to, Frame **frames, int count) {
    struct mmsghdr messages[BATCH];
    struct iovec places[BATCH];
    for (int i = 0; i < count; i++) {
        set_mac(frames[i]->data, to);
        set_mac(frames[i]->data + 6, -1);
        places[i] = (struct iovec){frames[i]->data, frames[i]->length};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &places[i], .msg_iovlen = 1};
        counters[BYTES] += frames[i]->length;
    }
    for (int sent = 0; sent < count;) {
        int done = sendmmsg(hosts[to].fd, messages + sent, count - sent, MSG_DONTWAIT);
        counters[done > 0 ? FORWARDED : REFUSED] += done > 0 ? done : 1;
        sent += done > 0 ? done : 1;
    }
    for (int i = 0; i < count; i++) put_back(frames[i]);
}

/* Let out what is due, and return when the next is, or -1. */
static int64_t let_out(int64_t at) {
    static Frame *ready[MAX_HOSTS][BATCH];
    static int counts[MAX_HOSTS];
    int64_t next = -1;
    for (int a = 0; a < region_count; a++)
        for (int b = 0; b < region_count; b++) {
            Wire *wire = &wires[a][b];
            while (wire->first && wire->first->due <= at) {
                Frame *frame = wire->first;
                int to = frame->to;
                if (!(wire->first = frame->next)) wire->last = NULL;
                waiting--;
                if (is_cut[frame->from][to] || hosts[frame->from].is_down || hosts[to].is_down) {
                    counters[CUT]++;
                    put_back(frame);
                    continue;
                }
                ready[to][counts[to]++] = frame;
                if (counts[to] == BATCH) leave(to, ready[to], BATCH), counts[to] = 0;
            }
            if (wire->first && (next < 0 || wire->first->due < next)) next = wire->first->due;
        }
    for (int to = 0; to < host_count; to++)
        if (counts[to]) leave(to, ready[to], counts[to]), counts[to] = 0;
    return next;
}

/* Commands */

static const char *add_host(const char *name, const char *region) {
    int pipes[2], place = find_region(region);
    char ready;
    if (host_count == MAX_HOSTS || place < 0 || strlen(name) >= sizeof hosts[0].name || find_host(name) >= 0)
        return "too many or too long names, or one twice";
    if (pipe2(pipes, O_CLOEXEC)) return strerror(errno);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(0), close(1);
        if (unshare(CLONE_NEWNET) || write(pipes[1], "r", 1) != 1) _exit(1);
        close(pipes[1]); /* and the descriptors of others are harmless */
        for (;;) pause();
    }
    close(pipes[1]);
    bool is_ready = pid > 0 && read(pipes[0], &ready, 1) == 1;
    close(pipes[0]);
    if (!is_ready) return "no namespace for the host";
    Host *host = &hosts[host_count++];
    strcpy(host->name, name);
    host->region = place, host->pid = pid, host->fd = -1;
    return NULL;
}

/* Let the kernel finish each packet of the host's before it comes to us: checksums, and one segment each. */
static bool end_offloads(pid_t pid) {
    char path[64];
    struct ethtool_value value = {.cmd = ETHTOOL_STXCSUM, .data = 0};
    struct ifreq request = {.ifr_name = "eth0", .ifr_data = (void *)&value};
    snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
    int ours = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), theirs = open(path, O_RDONLY | O_CLOEXEC);
    bool is_done = ours >= 0 && theirs >= 0 && !setns(theirs, CLONE_NEWNET);
    if (is_done) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        is_done = fd >= 0 && !ioctl(fd, SIOCETHTOOL, &request);
        close(fd);
        if (setns(ours, CLONE_NEWNET)) exit(1);
    }
    close(ours), close(theirs);
    return is_done;
}

static const char *open_host(int host, const char *interface) {
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int yes = 1, space = 4 << 20;
    if (host < 0) return "no such host";
    if (!end_offloads(hosts[host].pid)) return "the checksums of eth0 cannot be made by the kernel";
    address.sll_ifindex = if_nametoindex(interface);
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return strerror(errno);
    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes);
    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &space, sizeof space))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &space, sizeof space);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &space, sizeof space);
    if (!address.sll_ifindex || bind(fd, (void *)&address, sizeof address)) return close(fd), "no such interface";
    hosts[host].fd = fd;
    return NULL;
}

static const char *set_address(int host, const char *text) {
    uint32_t ip;
    if (host < -1 || inet_pton(AF_INET, text, &ip) != 1) return "no such host or address";
    for (int i = 0; i < owner_count; i++)
        if (owners[i].ip == ip) owners[i] = owners[--owner_count];
    if (host == -1) return NULL;
    if (owner_count == MAX_ADDRESSES) return "too many addresses";
    owners[owner_count++] = (Owner){ip, host};
    return NULL;
}

static const char *set_wire(const char *a, const char *b, int64_t *delay, uint32_t *loss) {
    int one = find_region(a), other = find_region(b);
    if (one < 0 || other < 0) return "no such region";
    Wire *both[] = {&wires[one][other], &wires[other][one]};
    for (int i = 0; i < 2; i++) {
        if (delay) both[i]->delay = *delay;
        if (loss) both[i]->loss = *loss;
    }
    return NULL;
}

static const char *obey(char *line, char *extra, size_t room) {
    char *words[4] = {"", "", "", ""}, *rest = line;
    for (int i = 0; i < 4; i++)
        if (!(words[i] = strtok_r(i ? NULL : line, " ", &rest))) words[i] = "";
    char *what = words[0];
    int one = find_host(words[1]), other = find_host(words[2]);
    if (!strcmp(what, "host")) {
        const char *error = add_host(words[1], words[2]);
        if (!error) snprintf(extra, room, " %d %d", hosts[host_count - 1].pid, host_count - 1);
        return error;
    }
    if (!strcmp(what, "open")) return open_host(one, words[2]);
    if (!strcmp(what, "address")) return set_address(one < 0 ? -2 : one, words[2]);
    if (!strcmp(what, "forget")) return set_address(-1, words[1]);
    if (!strcmp(what, "delay")) return set_wire(words[1], words[2], &(int64_t){atoll(words[3]) * 1000}, NULL);
    if (!strcmp(what, "loss")) return set_wire(words[1], words[2], NULL, &(uint32_t){atol(words[3])});
    if (!strcmp(what, "tick")) {
        int64_t wanted = atoll(words[1]) * 1000;
        return wanted > 0 && wanted < 1000000000 ? tick = wanted, NULL : "no time between 1 us and 1 s";
    }
    if (!strcmp(what, "count")) {
        for (int i = 0; i < COUNTERS; i++) {
            size_t used = strlen(extra);
            snprintf(extra + used, room - used, " %s=%llu", counter_names[i], (unsigned long long)counters[i]);
        }
        return NULL;
    }
    if (one < 0) return "no such command, or host";
    if (!strcmp(what, "down") || !strcmp(what, "up")) return hosts[one].is_down = *what == 'd', NULL;
    if (other < 0) return "no such command, or host";
    if (!strcmp(what, "partition") || !strcmp(what, "heal"))
        return is_cut[one][other] = is_cut[other][one] = *what == 'p', NULL;
    return "no such command";
}

static void take_commands(void) {
    static char buffer[4096];
    static size_t used;
    ssize_t got = read(0, buffer + used, sizeof buffer - used - 1);
    if (got <= 0) exit(0);
    used += got;
    for (char *end; (end = memchr(buffer, '\n', used));) {
        char extra[1024] = "";
        *end = 0;
        const char *error = obey(buffer, extra, sizeof extra);
        printf("%s%s\n", error ? "error " : "ok", error ? error : extra);
        fflush(stdout);
        used -= end + 1 - buffer;
        memmove(buffer, end + 1, used);
    }
    if (used == sizeof buffer - 1) exit(1);
}

int main(void) {
    Frame *frames = calloc(MAX_WAITING + BATCH, sizeof *frames);
    if (!frames) return 1;
    for (int i = 0; i < MAX_WAITING + BATCH; i++) put_back(&frames[i]);
    prctl(PR_SET_TIMERSLACK, 1000);
    /* A wire does not wait for a turn among those that it connects; where that isn't permitted, it does. */
    sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &(struct sched_param){.sched_priority = 1});
    for (int64_t next = -1;;) {
        struct pollfd polled[1 + MAX_HOSTS] = {{.fd = 0, .events = POLLIN}};
        for (int i = 0; i < host_count; i++) polled[1 + i] = (struct pollfd){.fd = hosts[i].fd, .events = POLLIN};
        int64_t wait = next < 0 ? 0 : next - now();
        if (wait < 0) wait = 0;
        struct timespec timeout = {wait / 1000000000, wait % 1000000000};
        if (ppoll(polled, 1 + host_count, next < 0 ? NULL : &timeout, NULL) > 0) {
            if (polled[0].revents) take_commands();
            for (int i = 0; i < host_count; i++)
                if (polled[1 + i].fd >= 0 && polled[1 + i].revents & POLLIN) receive(i);
        }
        next = let_out(now());
        nanosleep(&(struct timespec){0, tick}, NULL);
    }
}
