/* The load of `voicegate bench relay`: many clients on one side of a relay, a transceiver on the other, in one
   thread.

   It prints {"transceiver": port} when it is ready, does what each line of its standard input says and prints
   an object for each, and ends with its standard input. All is on 127.0.0.1, but that client number n is
   127.1.0.0 + n.

     check PUBLIC HOP FLOWS SECONDS FILE
         Send a connectivity check for each flow, answer what reaches the transceiver, again until all clients
         have their answers. FILE has the checks one after another, each behind its length (u16, big-endian).
         {"opened": flows with an answer}
     run DIRECTION PUBLIC HOP FLOWS RATE WARM_UP SECONDS SEGMENTED [PID ...]
         Send a packet for each flow, until all came through; then send at so many packets a second, the flows
         in turn, and take what arrives. Direction: u (to the transceiver), d (to clients), x (client to
         transceiver without a relay). Clients send evenly, the transceiver what is due in 5 ms at once, as ours
         do. Rate 0: always keep about WINDOW packets under way, in whole batches, so that the relay has no
         pause and no reason to lose any. Segmented 1: what the transceiver sends goes as UDP_SEGMENT batches.
         The processor time is that of the processes.
         {"touched": flows that came through at first, "sent":, "received":, "misrouted":, "damaged":,
         "undelivered": (by the kernel, for want of room in this program's own sockets), "seconds":, "cpu":,
         "p50":, "p99":, "max": seconds} */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

enum {
  BATCH = 64,
  HEADER = 24,
  PAYLOAD = 172, /* 20 ms of Opus at 64 kbit/s, or of G.711, in RTP */
  PACKET = HEADER + PAYLOAD,
  GIANT = 65536, /* what UDP_GRO may put together */
  WINDOW = 1024,
  CHECK_WINDOW = 32,
  FLOWS = 1 << 20,
  FIRST_CLIENT = 0x7F010000,
  TOUCH_RATE = 20000,
  TOUCH_ROUNDS = 5,
  PROCESSES = 64,
  RECEIVE_BUFFER = 32 << 20,
};
#define TICK 1e-7 /* of the latency histogram */
#define TICKS 5000000
#define SLOT 0.005 /* seconds; a transceiver sends what is due in a slot at once */
#define QUIET 0.2 /* seconds without a packet, after which none comes any more */
#define STALLED 0.05 /* seconds without a packet, after which those under way count as lost */

struct header { /* as in voicegate/wire/hop.py */
  uint8_t magic, version_and_type;
  uint16_t length;
  uint8_t flags, reserved;
  uint16_t port;
  uint8_t prefix[12];
  uint32_t host;
} __attribute__((packed));

struct payload {
  uint8_t rtp[2]; /* version 2, payload type 111 */
  uint16_t sequence;
  uint32_t timestamp, ssrc, run, flow;
  double sent_at;
  uint8_t filler[PAYLOAD - 28];
} __attribute__((packed));

struct packet {
  struct header header;
  struct payload payload;
} __attribute__((packed));
_Static_assert(sizeof(struct packet) == PACKET, "laid out as on the wire");

enum direction { TO_TRANSCEIVER = 'u', TO_CLIENTS = 'd', DIRECT = 'x' };

static struct { /* what is going on */
  enum direction direction;
  bool segmented;
  uint32_t run, flows, next;
  struct sockaddr_in public, hop;
} task;

static struct {
  uint64_t sent, received, misrouted, damaged;
  double received_at, longest; /* the last; seconds under way */
  uint32_t ticks[TICKS];
} tally;

static int clients, transceiver; /* sockets */
static uint16_t clients_port, transceiver_port;
static bool seen[FLOWS]; /* by touching or checking */
static uint32_t seen_count;
static uint8_t filler[PAYLOAD];

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static struct sockaddr_in local(int port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static struct header header_for(uint32_t flow, uint16_t length) {
  return (struct header){
      .magic = 0x56, .version_and_type = 0x10, .length = htons(length), .port = htons(clients_port),
      .prefix = {[10] = 0xff, [11] = 0xff}, .host = htonl(FIRST_CLIENT + flow)};
}

/* Sending */

union source { /* which client a datagram comes from */
  struct cmsghdr align;
  char space[CMSG_SPACE(sizeof(struct in_pktinfo))];
};

static void come_from(struct msghdr *message, union source *source, uint32_t flow) {
  message->msg_control = source;
  message->msg_controllen = sizeof *source;
  struct cmsghdr *control = CMSG_FIRSTHDR(message);
  *control = (struct cmsghdr){.cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO,
                              .cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo))};
  struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(FIRST_CLIENT + flow)};
  memcpy(CMSG_DATA(control), &info, sizeof info);
}

static void send_all(int socket, struct mmsghdr *messages, int count) {
  for (int sent; count > 0; messages += sent, count -= sent)
    if ((sent = sendmmsg(socket, messages, count, 0)) < 1) sent = 1; /* the first was refused */
}

static void send_segmented(struct packet *packets, int count) {
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(uint16_t))];
  } control = {0};
  struct iovec piece = {packets, count * PACKET};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1,
                           .msg_name = &task.hop, .msg_namelen = sizeof task.hop,
                           .msg_control = &control, .msg_controllen = sizeof control};
  uint16_t size = PACKET;
  *CMSG_FIRSTHDR(&message) = (struct cmsghdr){
      .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof size)};
  memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &size, sizeof size);
  sendmsg(transceiver, &message, 0);
}

static void send_batch(int count) {
  static struct packet packets[BATCH];
  static struct mmsghdr messages[BATCH];
  static struct iovec pieces[BATCH];
  static union source sources[BATCH];
  double at = now();
  for (int i = 0; i < count; i++) {
    uint32_t flow = task.next;
    task.next = flow + 1 < task.flows ? flow + 1 : 0;
    struct packet *packet = &packets[i];
    packet->header = header_for(flow, PAYLOAD);
    packet->payload = (struct payload){
        .rtp = {0x80, 111}, .sequence = htons(tally.sent + i), .ssrc = htonl(flow),
        .run = task.run, .flow = flow, .sent_at = at};
    memcpy(packet->payload.filler, filler, sizeof packet->payload.filler);
    bool is_client = task.direction != TO_CLIENTS;
    pieces[i] = is_client ? (struct iovec){&packet->payload, PAYLOAD} : (struct iovec){packet, PACKET};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1,
        .msg_name = is_client ? &task.public : &task.hop, .msg_namelen = sizeof task.hop};
    if (is_client) come_from(&messages[i].msg_hdr, &sources[i], flow);
  }
  if (task.direction == TO_CLIENTS && task.segmented)
    send_segmented(packets, count);
  else
    send_all(task.direction == TO_CLIENTS ? transceiver : clients, messages, count);
  tally.sent += count;
}

/* Receiving */

static void take_payload(const uint8_t *data, size_t length, uint32_t flow, double at) {
  struct payload payload;
  if (length >= sizeof payload) memcpy(&payload, data, sizeof payload);
  if (length < sizeof payload || payload.run != task.run) {
    /* Of an earlier run, if it is whole: late is lost. */
    if (length != sizeof payload || data[0] != 0x80) tally.damaged++;
    return;
  }
  tally.received++;
  tally.received_at = at;
  if (length != sizeof payload || memcmp(payload.filler, filler, sizeof payload.filler)) tally.damaged++;
  if (payload.flow != flow) {
    tally.misrouted++;
    return;
  }
  if (!seen[flow]) {
    seen[flow] = true;
    seen_count++;
  }
  double latency = at - payload.sent_at;
  if (latency > tally.longest) tally.longest = latency;
  int64_t tick = latency / TICK;
  tally.ticks[tick < 0 ? 0 : tick < TICKS ? tick : TICKS - 1]++;
}

static void answer_check(uint8_t *data) {
  struct header header;
  memcpy(&header, data, HEADER);
  header.length = htons(20);
  memcpy(data, &header, HEADER);
  memcpy(data + HEADER, "\1\1\0\0", 4); /* Binding Success; cookie and transaction stay */
  sendto(transceiver, data, HEADER + 20, 0, (struct sockaddr *)&task.hop, sizeof task.hop);
}

static void take_hop(uint8_t *data, size_t size, double at) {
  struct header header;
  if (size < HEADER) {
    tally.damaged++;
    return;
  }
  memcpy(&header, data, HEADER);
  size_t length = ntohs(header.length);
  uint32_t flow = ntohl(header.host) - FIRST_CLIENT;
  if (header.magic != 0x56 || header.version_and_type >> 4 != 1 || size < HEADER + length) {
    tally.damaged++;
  } else if (header.version_and_type & 0x0f) {
    return; /* the relay's own business with transceivers */
  } else if (flow >= task.flows || ntohs(header.port) != clients_port) {
    tally.misrouted++;
  } else if (length >= 20 && !memcmp(data + HEADER, "\0\1", 2)) {
    answer_check(data);
  } else {
    take_payload(data + HEADER, length, flow, at);
  }
}

static int receive_as_transceiver(void) {
  enum { GIANTS = 16 };
  static uint8_t slots[GIANTS][GIANT];
  static struct mmsghdr messages[GIANTS];
  static struct iovec pieces[GIANTS];
  static char controls[GIANTS][CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
  for (int i = 0; i < GIANTS; i++) {
    pieces[i] = (struct iovec){slots[i], GIANT};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1,
                                          .msg_control = controls[i], .msg_controllen = sizeof controls[i]};
  }
  int count = recvmmsg(transceiver, messages, GIANTS, MSG_DONTWAIT, NULL);
  double at = now();
  for (int i = 0; i < count; i++) {
    size_t size = messages[i].msg_len;
    int segment = size;
    struct cmsghdr *control = CMSG_FIRSTHDR(&messages[i].msg_hdr);
    if (control && control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_GRO)
      memcpy(&segment, CMSG_DATA(control), sizeof segment);
    for (size_t from = 0; from < size; from += segment) {
      size_t left = size - from < (size_t)segment ? size - from : (size_t)segment;
      if (task.direction == DIRECT) {
        uint32_t flow = 0; /* nobody is between that could mistake it */
        if (left == PAYLOAD) memcpy(&flow, slots[i] + from + offsetof(struct payload, flow), sizeof flow);
        take_payload(slots[i] + from, left, flow, at);
      } else {
        take_hop(slots[i] + from, left, at);
      }
    }
  }
  return count;
}

static int receive_as_clients(void) {
  static uint8_t slots[BATCH][2048];
  static struct mmsghdr messages[BATCH];
  static struct iovec pieces[BATCH];
  static union source destinations[BATCH];
  for (int i = 0; i < BATCH; i++) {
    pieces[i] = (struct iovec){slots[i], sizeof slots[i]};
    messages[i].msg_hdr = (struct msghdr){
        .msg_iov = &pieces[i], .msg_iovlen = 1,
        .msg_control = &destinations[i], .msg_controllen = sizeof destinations[i]};
  }
  int count = recvmmsg(clients, messages, BATCH, MSG_DONTWAIT, NULL);
  double at = now();
  for (int i = 0; i < count; i++) {
    struct in_pktinfo info = {0};
    struct cmsghdr *control = CMSG_FIRSTHDR(&messages[i].msg_hdr);
    if (control) memcpy(&info, CMSG_DATA(control), sizeof info);
    uint32_t flow = ntohl(info.ipi_addr.s_addr) - FIRST_CLIENT;
    if (flow >= task.flows) {
      tally.misrouted++;
    } else if (messages[i].msg_len >= 20 && !memcmp(slots[i], "\1\1", 2)) {
      if (!seen[flow]) seen_count++;
      seen[flow] = true;
    } else {
      take_payload(slots[i], messages[i].msg_len, flow, at);
    }
  }
  return count;
}

static int receive(void) {
  return (task.direction == TO_CLIENTS ? receive_as_clients : receive_as_transceiver)();
}

static void wait_quiet(void) {
  for (double last = now(); tally.received < tally.sent && now() - last < QUIET;)
    if (receive() > 0) last = now();
}

static void forget(void) {
  memset(&tally, 0, sizeof tally);
  task.run++;
}

/* Commands */

static uint8_t checks[FLOWS][256], check_lengths[FLOWS];

static void read_checks(FILE *file) {
  uint32_t known = 0;
  for (uint8_t size[2]; known < task.flows && fread(size, 2, 1, file) == 1 && !size[0]; known++) {
    if (fread(checks[known], size[1], 1, file) != 1) break;
    check_lengths[known] = size[1];
  }
  if (known < task.flows) task.flows = known;
}

static void send_check(uint32_t flow) {
  struct iovec piece = {checks[flow], check_lengths[flow]};
  struct mmsghdr message = {.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1,
                                        .msg_name = &task.public, .msg_namelen = sizeof task.public}};
  union source source;
  come_from(&message.msg_hdr, &source, flow);
  send_all(clients, &message, 1);
}

static void exchange(double seconds, uint32_t until) {
  double begin = now();
  do {
    receive_as_transceiver();
    receive_as_clients();
  } while (seen_count < until && now() - begin < seconds);
}

static void check(double seconds) {
  memset(seen, 0, sizeof seen);
  seen_count = 0;
  task.direction = TO_CLIENTS; /* only so that what comes to the transceiver is taken for hop datagrams */
  for (double end = now() + seconds; seen_count < task.flows && now() < end;) {
    for (uint32_t flow = 0, waiting = 0; flow < task.flows && now() < end; flow++) {
      if (seen[flow]) continue;
      send_check(flow);
      uint32_t before = seen_count;
      exchange(0, task.flows);
      if (++waiting >= CHECK_WINDOW) exchange(STALLED, before + 1);
      waiting -= seen_count - before < waiting ? seen_count - before : waiting;
      if (waiting >= CHECK_WINDOW) waiting = 0; /* lost, or not admitted */
    }
    exchange(STALLED, task.flows);
  }
  printf("{\"opened\": %u}\n", seen_count);
}

static void touch(void) {
  enum direction direction = task.direction;
  if (direction == TO_CLIENTS) task.direction = TO_TRANSCEIVER; /* a flow lives by what its client sends */
  memset(seen, 0, sizeof seen);
  seen_count = 0;
  for (int round = 0; round < TOUCH_ROUNDS && seen_count < task.flows; round++) {
    forget();
    double begin = now();
    for (uint32_t flow = 0; flow < task.flows; flow++) {
      if (seen[flow]) continue;
      task.next = flow;
      send_batch(1);
      do receive();
      while (tally.sent > (now() - begin) * TOUCH_RATE);
    }
    wait_quiet();
  }
  task.direction = direction;
}

/* Returns how long it took, until the last packet arrived. */
static double pump(double rate, double seconds) {
  forget();
  task.next = 0;
  uint64_t given_up = 0;
  double begin = now(), at = begin, last = begin;
  for (; at - begin < seconds; at = now()) {
    double passed = at - begin;
    if (task.direction == TO_CLIENTS) passed = (int64_t)(passed / SLOT) * SLOT;
    int64_t due = rate ? (int64_t)(passed * rate) - (int64_t)tally.sent
                       : (int64_t)(WINDOW + tally.received + given_up) - (int64_t)tally.sent;
    if (due >= (rate ? 1 : BATCH)) send_batch(due < BATCH ? due : BATCH);
    if (receive() > 0)
      last = at;
    else if (!rate && at - last > STALLED && tally.received < tally.sent)
      given_up = tally.sent - tally.received;
  }
  wait_quiet();
  return tally.received_at > at ? tally.received_at - begin : at - begin;
}

static double percentile(double share) {
  uint64_t wanted = share * (tally.received - tally.misrouted), passed = 0;
  for (int tick = 0; tick < TICKS; tick++)
    if ((passed += tally.ticks[tick]) > wanted) return tick * TICK;
  return 0;
}

static uint32_t undelivered(void) {
  uint32_t total = 0;
  for (int i = 0; i < 2; i++) {
    uint32_t info[9] = {0};
    socklen_t length = sizeof info;
    if (!getsockopt(i ? transceiver : clients, SOL_SOCKET, SO_MEMINFO, info, &length)) total += info[8];
  }
  return total;
}

static double processor_seconds(const pid_t *processes, int count) {
  double total = 0;
  for (int i = 0; i < count; i++) {
    clockid_t clock;
    struct timespec time;
    if (!clock_getcpuclockid(processes[i], &clock) && !clock_gettime(clock, &time))
      total += time.tv_sec + time.tv_nsec * 1e-9;
  }
  return total;
}

static void run(double rate, double warm_up, double seconds, const pid_t *processes, int count) {
  touch();
  uint32_t touched = seen_count;
  pump(rate, warm_up);
  uint32_t before = undelivered();
  double cpu = processor_seconds(processes, count), elapsed = pump(rate, seconds);
  cpu = processor_seconds(processes, count) - cpu;
  printf("{\"touched\": %u, ", touched);
  printf("\"sent\": %" PRIu64 ", \"received\": %" PRIu64 ", ", tally.sent, tally.received);
  printf("\"misrouted\": %" PRIu64 ", \"damaged\": %" PRIu64 ", ", tally.misrouted, tally.damaged);
  printf("\"undelivered\": %u, \"seconds\": %.6f, \"cpu\": %.9f, ", undelivered() - before, elapsed, cpu);
  printf("\"p50\": %.7f, \"p99\": %.7f, \"max\": %.7f}\n", percentile(0.5), percentile(0.99), tally.longest);
}

static int open_port(struct sockaddr_in address, uint16_t *bound) {
  int made = socket(AF_INET, SOCK_DGRAM, 0), size = RECEIVE_BUFFER;
  socklen_t length = sizeof address;
  if (setsockopt(made, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
    setsockopt(made, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  if (bind(made, (struct sockaddr *)&address, length)) {
    perror("bind");
    exit(1);
  }
  getsockname(made, (struct sockaddr *)&address, &length);
  *bound = ntohs(address.sin_port);
  return made;
}

static bool obey(char *line) {
  int public, hop, from = 0;
  double seconds, warm_up, rate;
  char direction;
  int segmented, count = 0;
  pid_t processes[PROCESSES];
  if (sscanf(line, "check %d %d %u %lf %n", &public, &hop, &task.flows, &seconds, &from) == 4 && from) {
    line[strcspn(line, "\n")] = 0;
    FILE *file = fopen(line + from, "rb");
    if (!file || task.flows > FLOWS) return false;
    task.public = local(public), task.hop = local(hop);
    read_checks(file);
    fclose(file);
    check(seconds);
    return true;
  }
  if (sscanf(line, "run %c %d %d %u %lf %lf %lf %d %n", &direction, &public, &hop, &task.flows, &rate, &warm_up,
             &seconds, &segmented, &from) < 8)
    return false;
  if (!task.flows || task.flows > FLOWS) return false;
  for (char *word = strtok(line + from, " \n"); word && count < PROCESSES; word = strtok(NULL, " \n"))
    processes[count++] = atoi(word);
  task.direction = direction, task.segmented = segmented;
  task.hop = local(hop), task.public = local(direction == DIRECT ? transceiver_port : public);
  run(rate, warm_up, seconds, processes, count);
  return true;
}

int main(void) {
  int yes = 1;
  size_t size = 0;
  char *line = NULL;
  struct sockaddr_in any = {.sin_family = AF_INET};
  clients = open_port(any, &clients_port);
  transceiver = open_port(local(0), &transceiver_port);
  int whole = IP_PMTUDISC_DO; /* then the kernel need not choose an identification for each packet */
  setsockopt(clients, IPPROTO_IP, IP_MTU_DISCOVER, &whole, sizeof whole);
  setsockopt(transceiver, IPPROTO_IP, IP_MTU_DISCOVER, &whole, sizeof whole);
  setsockopt(clients, IPPROTO_IP, IP_PKTINFO, &yes, sizeof yes);
  setsockopt(transceiver, IPPROTO_UDP, UDP_GRO, &yes, sizeof yes);
  for (size_t i = 0; i < sizeof filler; i++) filler[i] = 0xA0 + i;
  printf("{\"transceiver\": %u}\n", transceiver_port);
  fflush(stdout);
  while (getline(&line, &size, stdin) > 0) {
    if (!obey(line)) return 2;
    fflush(stdout);
  }
}
