/* The callers of `voicegate bench calls`: the media of many calls that somebody else has set up, in one thread.

     calls SOCKET PAYLOADS

   SOCKET is where it listens, a path (SOCK_SEQPACKET): each message is a `struct handover`, a call, with the
   descriptor of its connected UDP socket. PAYLOADS has what the calls say, one RTP payload of 20 ms after the
   other, each behind its length (u16, big-endian). It prints {"payloads": count} when it is ready, does what
   each line of its standard input says and prints an object for each, and ends with its standard input.

   From when it has a call, it sends a connectivity check for it every 2.5 s, always the same, and takes what
   comes, so that the call stays. Once it has heard something, a receiver report goes with the check, which
   tells of no loss. It answers nothing.

     drop NUMBER
         Let a call go. {"calls": left}
     run WARM_UP SECONDS FILE [PID ...]
         All calls send a packet every 20 ms, evenly spread, by one absolute schedule; those that are due
         within a millisecond leave together. FILE gets a `struct record` for each authentic packet that
         arrived after the warm-up, by the kernel's time of arrival. Times are those of CLOCK_MONOTONIC.
         {"calls":, "begin":, "end": of the part that counts, in seconds, "sent":, "refused": (by the kernel),
         "received":, "damaged": (not authentic, or no RTP), "answers": (to checks), "unrecorded": (for want of
         room), "undelivered": (by the kernel, for want of room in sockets), "clock_step": (seconds by which
         somebody set the clock meanwhile), "late_p99":, "late_max": (own lateness in sending, seconds),
         "own_cpu":, "cpu": [for each PID]}

   A call whose handover names a port goes without a relay: its packets have the header of
   voicegate/wire/hop.py, and all such calls share the socket that came with number CALLS. Hop datagrams that
   are for no call go to whom the handovers come from. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

enum {
  CALLS = 4096,
  PAYLOADS = 4096,
  PROCESSES = 64,
  PAYLOAD = 400, /* bytes at most, and of a packet below */
  PACKET = 512,
  CHECK = 256,
  HOP_HEADER = 24,
  RTP_HEADER = 12,
  TAG = 16,
  FRAME_TICKS = 960,
  BATCH = 64,
  EVENTS = 512,
  RECEIVE_BUFFER = 32 << 20,
  LATE_BUCKETS = 20000,
};
#define FRAME 0.020
#define CHECK_INTERVAL 2.5
#define TICK 0.001
#define LATE_BUCKET 1e-5
#define DRAIN 0.3 /* seconds after a run in which what is under way may still arrive */

struct handover { /* as voicegate/bench/caller.py packs it, in the machine's order */
  uint32_t number, ssrc, timestamp;
  uint16_t sequence, port, check_length;
  uint8_t payload_type;
  uint8_t host[16]; /* with port, the client's address in hop headers */
  struct {
    uint8_t key[16], salt[12];
  } sending, receiving, reporting;
  uint8_t check[CHECK];
} __attribute__((packed));

struct record { /* as voicegate/bench/frame.py reads it */
  uint32_t call, timestamp;
  uint16_t sequence, size; /* size: of the payload */
  int32_t payload;         /* which of ours it is, byte for byte; or -1 */
  double at;
} __attribute__((packed));

struct call {
  bool is_there, has_heard, is_resuming;
  int socket;
  uint16_t port;
  struct handover handover;
  EVP_CIPHER_CTX *seal, *open, *report;
  uint32_t reports;
  uint8_t source[4]; /* SSRC of what was heard */
  uint64_t index; /* of the next packet: roll-over counter and sequence number */
  uint64_t heard; /* the highest index that came */
  uint32_t timestamp, next_payload, expected_payload;
  double check_at;
};

static struct call calls[CALLS];
static uint32_t live[CALLS], live_count;
static struct {
  uint16_t length;
  uint8_t data[PAYLOAD];
} payloads[PAYLOADS];
static uint32_t payload_count;

static int poller, listener, giver = -1; /* descriptors; giver: where handovers come from */
static int shared = -1;                  /* that of the calls without a relay */
static bool is_sending;
static double base;    /* when frame 0 was due */
static uint64_t frame; /* the next, of all calls in turn */
static double paused_at;
static double behind; /* CLOCK_REALTIME, which the kernel stamps with, less CLOCK_MONOTONIC */

static struct {
  uint64_t sent, refused, received, damaged, answers, unrecorded;
  double late_max;
  uint64_t late[LATE_BUCKETS], late_count;
} tally;

static struct record *records;
static size_t record_count, record_room;
static double record_from;

static double read_clock(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static double now(void) { return read_clock(CLOCK_MONOTONIC); }

static double measure_behind(void) {
  double least = 1e9, found = 0;
  for (int i = 0; i < 10; i++) { /* the closest of some: we may be interrupted in between */
    double before = now(), real = read_clock(CLOCK_REALTIME), after = now();
    if (after - before < least) least = after - before, found = real - (before + after) / 2;
  }
  return found;
}

static void sleep_until(double at) {
  struct timespec time = {.tv_sec = at, .tv_nsec = (at - (time_t)at) * 1e9};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* Sending */

static struct {
  uint8_t data[BATCH][PACKET];
  size_t lengths[BATCH], longest;
  int count;
} batch; /* for the hop */

static void flush(void) {
  if (!batch.count) return;
  struct iovec pieces[BATCH];
  for (int i = 0; i < batch.count; i++) pieces[i] = (struct iovec){batch.data[i], batch.longest};
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(uint16_t))];
  } control = {0};
  struct msghdr message = {.msg_iov = pieces, .msg_iovlen = batch.count,
                           .msg_control = &control, .msg_controllen = sizeof control};
  uint16_t size = batch.longest;
  *CMSG_FIRSTHDR(&message) = (struct cmsghdr){
      .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof size)};
  memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &size, sizeof size);
  if (sendmsg(shared, &message, MSG_DONTWAIT) < 0) tally.refused += batch.count;
  batch.count = 0, batch.longest = 0;
}

static void transmit(struct call *call, const uint8_t *data, size_t length) {
  if (!call->port) {
    if (send(call->socket, data, length, MSG_DONTWAIT) < 0) tally.refused++;
    return;
  }
  uint8_t *slot = batch.data[batch.count];
  uint16_t port = htons(call->port), size = htons(length);
  memset(slot, 0, PACKET);
  slot[0] = 0x56, slot[1] = 0x10;
  memcpy(slot + 2, &size, 2);
  memcpy(slot + 6, &port, 2);
  memcpy(slot + 8, call->handover.host, 16);
  memcpy(slot + HOP_HEADER, data, length);
  if (HOP_HEADER + length > batch.longest) batch.longest = HOP_HEADER + length;
  if (++batch.count == BATCH) flush();
}

static void make_nonce(uint8_t *nonce, const uint8_t *salt, const uint8_t *ssrc, uint64_t index) {
  uint8_t plain[12] = {0};
  memcpy(plain + 2, ssrc, 4);
  for (int i = 0; i < 6; i++) plain[6 + i] = index >> (40 - 8 * i);
  for (int i = 0; i < 12; i++) nonce[i] = plain[i] ^ salt[i];
}

static size_t protect(struct call *call, uint8_t *packet) {
  uint16_t sequence = htons(call->index);
  uint32_t timestamp = htonl(call->timestamp), ssrc = htonl(call->handover.ssrc);
  int length = payloads[call->next_payload].length, written = 0;
  uint8_t nonce[12];
  packet[0] = 0x80;
  packet[1] = call->handover.payload_type | (call->is_resuming ? 0x80 : 0);
  memcpy(packet + 2, &sequence, 2);
  memcpy(packet + 4, &timestamp, 4);
  memcpy(packet + 8, &ssrc, 4);
  make_nonce(nonce, call->handover.sending.salt, packet + 8, call->index);
  EVP_EncryptInit_ex(call->seal, NULL, NULL, NULL, nonce);
  EVP_EncryptUpdate(call->seal, NULL, &written, packet, RTP_HEADER);
  EVP_EncryptUpdate(call->seal, packet + RTP_HEADER, &written, payloads[call->next_payload].data, length);
  EVP_EncryptFinal_ex(call->seal, packet + RTP_HEADER + written, &written);
  EVP_CIPHER_CTX_ctrl(call->seal, EVP_CTRL_AEAD_GET_TAG, TAG, packet + RTP_HEADER + length);
  call->index++;
  call->timestamp += FRAME_TICKS;
  call->next_payload = (call->next_payload + 1) % payload_count;
  call->is_resuming = false;
  return RTP_HEADER + length + TAG;
}

static void send_report(struct call *call) { /* RFC 3550 §6.4.2, RFC 7714 §9 */
  enum { HEAD = 8, BLOCK = 24 };
  uint8_t packet[HEAD + BLOCK + TAG + 4] = {0x81, 201, 0, (HEAD + BLOCK) / 4 - 1}, plain[BLOCK] = {0};
  uint32_t ssrc = htonl(call->handover.ssrc), highest = htonl(call->heard);
  uint32_t index = ++call->reports, trailer = htonl(0x80000000 | index);
  uint8_t nonce[12];
  int written;
  memcpy(packet + 4, &ssrc, 4);
  memcpy(plain, call->source, 4);
  memcpy(plain + 8, &highest, 4);
  make_nonce(nonce, call->handover.reporting.salt, packet + 4, index);
  EVP_EncryptInit_ex(call->report, NULL, NULL, NULL, nonce);
  EVP_EncryptUpdate(call->report, NULL, &written, packet, HEAD);
  EVP_EncryptUpdate(call->report, NULL, &written, (uint8_t *)&trailer, 4);
  EVP_EncryptUpdate(call->report, packet + HEAD, &written, plain, BLOCK);
  EVP_EncryptFinal_ex(call->report, packet + HEAD + written, &written);
  EVP_CIPHER_CTX_ctrl(call->report, EVP_CTRL_AEAD_GET_TAG, TAG, packet + HEAD + BLOCK);
  memcpy(packet + HEAD + BLOCK + TAG, &trailer, 4);
  transmit(call, packet, sizeof packet);
}

static void send_due(void) {
  double at = now();
  for (uint32_t i = 0; i < live_count; i++) {
    struct call *call = &calls[live[i]];
    if (call->check_at > at) continue;
    call->check_at += CHECK_INTERVAL;
    transmit(call, call->handover.check, call->handover.check_length);
    if (call->has_heard) send_report(call);
  }
  for (; is_sending && live_count; frame++) {
    double due = base + frame * (FRAME / live_count);
    if (due > at) break;
    struct call *call = &calls[live[frame % live_count]];
    uint8_t packet[PACKET];
    transmit(call, packet, protect(call, packet));
    double late = now() - due;
    size_t bucket = late / LATE_BUCKET;
    if (late > tally.late_max) tally.late_max = late;
    tally.late[bucket < LATE_BUCKETS ? bucket : LATE_BUCKETS - 1]++;
    tally.late_count++;
    tally.sent++;
  }
  flush();
}

/* Receiving */

static bool unprotect(struct call *call, const uint8_t *packet, int header, int length, uint64_t index,
                      uint8_t *plain) {
  uint8_t nonce[12], tag[TAG];
  int written = 0, rest = 0;
  memcpy(tag, packet + header + length, TAG);
  make_nonce(nonce, call->handover.receiving.salt, packet + 8, index);
  return EVP_DecryptInit_ex(call->open, NULL, NULL, NULL, nonce) == 1 &&
         EVP_CIPHER_CTX_ctrl(call->open, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1 &&
         EVP_DecryptUpdate(call->open, NULL, &rest, packet, header) == 1 &&
         EVP_DecryptUpdate(call->open, plain, &written, packet + header, length) == 1 &&
         EVP_DecryptFinal_ex(call->open, plain + written, &rest) == 1;
}

static uint64_t guess_index(const struct call *call, uint16_t sequence) {
  uint64_t guess = (call->heard & ~(uint64_t)0xffff) | sequence;
  if (guess + 0x8000 < call->heard) return guess + 0x10000;
  return guess > call->heard + 0x8000 && guess >= 0x10000 ? guess - 0x10000 : guess;
}

static int32_t recognise(struct call *call, const uint8_t *plain, uint16_t length) {
  for (uint32_t i = 0; i < payload_count; i++) {
    uint32_t which = (call->expected_payload + i) % payload_count;
    if (payloads[which].length == length && !memcmp(payloads[which].data, plain, length)) {
      call->expected_payload = (which + 1) % payload_count;
      return which;
    }
  }
  return -1;
}

static void take_media(struct call *call, const uint8_t *packet, size_t length, double at) {
  static uint8_t plain[65536];
  size_t header = RTP_HEADER + 4 * (packet[0] & 0x0f);
  if (packet[0] & 0x10 && length >= header + 4) header += 4 + 4 * (packet[header + 2] << 8 | packet[header + 3]);
  if (length < header + TAG) {
    tally.damaged++;
    return;
  }
  uint16_t sequence = packet[2] << 8 | packet[3];
  size_t size = length - header - TAG;
  uint64_t index = call->has_heard ? guess_index(call, sequence) : sequence;
  bool is_authentic = unprotect(call, packet, header, size, index, plain);
  if (!is_authentic && !call->has_heard) /* the sequence number may have wrapped before we had the call */
    is_authentic = unprotect(call, packet, header, size, index += 0x10000, plain);
  if (!is_authentic) {
    tally.damaged++;
    return;
  }
  if (!call->has_heard || index > call->heard) call->heard = index;
  call->has_heard = true;
  memcpy(call->source, packet + 8, 4);
  tally.received++;
  if (!records || at < record_from) return;
  if (record_count == record_room) {
    tally.unrecorded++;
    return;
  }
  uint32_t timestamp;
  memcpy(&timestamp, packet + 4, 4);
  records[record_count++] = (struct record){
      .call = call->handover.number, .timestamp = ntohl(timestamp), .sequence = sequence, .size = size,
      .payload = recognise(call, plain, size), .at = at};
}

static void take(struct call *call, const uint8_t *data, size_t length, double at) {
  if (length < RTP_HEADER) {
    tally.damaged++;
  } else if (data[0] >> 6 == 2) {
    if (data[1] < 192 || data[1] > 223) take_media(call, data, length, at); /* else RTCP (RFC 5761) */
  } else if (data[0] == 1 && data[1] == 1) {
    tally.answers++;
  }
}

static void take_hop(const uint8_t *data, size_t size, double at) {
  if (size < HOP_HEADER || data[0] != 0x56 || data[1] != 0x10) return; /* what else relays are told */
  size_t length = data[2] << 8 | data[3];
  uint32_t port = data[6] << 8 | data[7];
  if (length > size - HOP_HEADER || !port || port > CALLS) {
    tally.damaged++;
  } else if (calls[port - 1].is_there) {
    take(&calls[port - 1], data + HOP_HEADER, length, at);
  } else if (giver >= 0) {
    send(giver, data, size, MSG_DONTWAIT); /* of a call that is being set up */
  }
}

enum { SLOT = 2048 };
static uint8_t slots[BATCH][SLOT];
static char controls[BATCH][CMSG_SPACE(sizeof(struct timespec))] __attribute__((aligned(8)));

static double stamped(struct msghdr *message) {
  struct timespec time;
  for (struct cmsghdr *one = CMSG_FIRSTHDR(message); one; one = CMSG_NXTHDR(message, one))
    if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SO_TIMESTAMPNS) {
      memcpy(&time, CMSG_DATA(one), sizeof time);
      return time.tv_sec + time.tv_nsec * 1e-9 - behind;
    }
  return now();
}

static void receive_shared(void) {
  struct mmsghdr messages[BATCH];
  struct iovec pieces[BATCH];
  int count;
  do {
    for (int i = 0; i < BATCH; i++) {
      pieces[i] = (struct iovec){slots[i], SLOT};
      messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1,
                                            .msg_control = controls[i], .msg_controllen = sizeof controls[i]};
    }
    count = recvmmsg(shared, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) take_hop(slots[i], messages[i].msg_len, stamped(&messages[i].msg_hdr));
  } while (count == BATCH);
}

static void receive_one(struct call *call) {
  struct iovec piece = {slots[0], SLOT};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1,
                           .msg_control = controls[0], .msg_controllen = sizeof controls[0]};
  ssize_t length = recvmsg(call->socket, &message, MSG_DONTWAIT);
  if (length >= 0 && call->is_there) take(call, slots[0], length, stamped(&message));
}

/* Calls that come and go */

static void list_live(void) {
  live_count = 0;
  for (uint32_t i = 0; i < CALLS; i++)
    if (calls[i].is_there) live[live_count++] = i;
}

static void listen_to(int socket, uint32_t what) {
  int yes = 1, size = RECEIVE_BUFFER;
  if (what == CALLS && setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
    setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  setsockopt(socket, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof yes);
  epoll_ctl(poller, EPOLL_CTL_ADD, socket, &(struct epoll_event){.events = EPOLLIN, .data.u32 = what});
}

static EVP_CIPHER_CTX *make_cipher(const uint8_t *key, bool seals) { /* RFC 7714, 12 bytes of nonce */
  EVP_CIPHER_CTX *made = EVP_CIPHER_CTX_new();
  if (!made || EVP_CipherInit_ex(made, EVP_aes_128_gcm(), NULL, key, NULL, seals) != 1) exit(3);
  return made;
}

static void take_over(const struct handover *handover, int socket) {
  if (handover->number == CALLS && socket >= 0) {
    listen_to(shared = socket, CALLS);
    return;
  }
  if (handover->number >= CALLS || handover->check_length > CHECK) exit(3);
  struct call *call = &calls[handover->number];
  if (call->is_there) exit(3);
  if (handover->port ? handover->port != handover->number + 1 : socket < 0) exit(3);
  *call = (struct call){.is_there = true, .socket = handover->port ? -1 : socket, .port = handover->port,
                        .handover = *handover, .index = handover->sequence, .timestamp = handover->timestamp};
  call->seal = make_cipher(handover->sending.key, true);
  call->open = make_cipher(handover->receiving.key, false);
  call->report = make_cipher(handover->reporting.key, true);
  call->next_payload = handover->number * 7 % payload_count; /* not all say the same at once */
  call->check_at = now() + CHECK_INTERVAL * (handover->number * 37 % 100 / 100.0);
  if (!handover->port) listen_to(socket, handover->number);
  list_live();
}

static bool drop(uint32_t number) {
  if (number >= CALLS || !calls[number].is_there) return false;
  struct call *call = &calls[number];
  call->is_there = false;
  EVP_CIPHER_CTX_free(call->seal);
  EVP_CIPHER_CTX_free(call->open);
  EVP_CIPHER_CTX_free(call->report);
  if (call->socket >= 0) {
    epoll_ctl(poller, EPOLL_CTL_DEL, call->socket, NULL); /* closing does not, while others have it */
    close(call->socket);
  }
  list_live();
  printf("{\"calls\": %u}\n", live_count);
  return true;
}

static void accept_calls(void) {
  if (giver < 0) giver = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
  union {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct handover handover;
  struct iovec piece = {&handover, sizeof handover};
  while (giver >= 0) {
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1,
                             .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(giver, &message, MSG_DONTWAIT) != sizeof handover) break;
    int given = -1;
    struct cmsghdr *one = CMSG_FIRSTHDR(&message);
    if (one && one->cmsg_type == SCM_RIGHTS) memcpy(&given, CMSG_DATA(one), sizeof given);
    take_over(&handover, given);
  }
}

/* Commands */

static void turn(void) { /* a millisecond's work */
  static struct epoll_event events[EVENTS];
  static double next;
  if (next < now() - TICK) next = now();
  sleep_until(next += TICK);
  send_due();
  int count = epoll_wait(poller, events, EVENTS, 0);
  for (int i = 0; i < count; i++) {
    if (events[i].data.u32 == CALLS)
      receive_shared();
    else if (events[i].data.u32 < CALLS)
      receive_one(&calls[events[i].data.u32]);
  }
}

static void turn_until(double at) {
  while (now() < at) turn();
}

static void read_processors(const pid_t *processes, int count, double *seconds) {
  for (int i = 0; i < count; i++) {
    clockid_t clock;
    seconds[i] = clock_getcpuclockid(processes[i], &clock) ? 0 : read_clock(clock);
  }
}

static uint64_t undelivered(void) {
  uint64_t total = 0;
  for (uint32_t i = 0; i <= live_count; i++) {
    uint32_t info[9] = {0};
    socklen_t length = sizeof info;
    int socket = i < live_count ? calls[live[i]].socket : shared;
    if (socket >= 0 && !getsockopt(socket, SOL_SOCKET, SO_MEMINFO, info, &length)) total += info[8];
  }
  return total;
}

static double late_percentile(double share) {
  uint64_t passed = 0;
  for (int i = 0; i < LATE_BUCKETS; i++)
    if ((passed += tally.late[i]) > share * tally.late_count) return i * LATE_BUCKET;
  return tally.late_max;
}

static void begin_sending(void) {
  base = now();
  frame = 0;
  for (uint32_t i = 0; i < live_count; i++) {
    struct call *call = &calls[live[i]];
    call->is_resuming = true;
    if (paused_at) call->timestamp += (uint32_t)((base - paused_at) / FRAME) * FRAME_TICKS;
  }
  is_sending = true;
}

static bool run(double warm_up, double seconds, const char *path, const pid_t *processes, int count) {
  double before[PROCESSES], after[PROCESSES];
  FILE *file = fopen(path, "wb");
  if (!file) return false;
  record_room = (live_count + 1) * (seconds + 2 * DRAIN) / FRAME * 1.5 + 1000;
  records = malloc(record_room * sizeof *records);
  if (!records) return false;
  memset(records, 0, record_room * sizeof *records); /* no page comes late */
  behind = measure_behind();
  record_from = 1e12; /* nothing yet */
  begin_sending();
  turn_until(base + warm_up);
  uint64_t lost = undelivered();
  memset(&tally, 0, sizeof tally); /* some 160 KB, so no frame is late for it */
  read_processors(processes, count, before);
  double begin = now(), own = read_clock(CLOCK_PROCESS_CPUTIME_ID);
  record_from = begin;
  record_count = 0;
  turn_until(begin + seconds);
  double end = now();
  own = read_clock(CLOCK_PROCESS_CPUTIME_ID) - own;
  read_processors(processes, count, after);
  double p99 = late_percentile(0.99), longest = tally.late_max;
  uint64_t sent = tally.sent;
  turn_until(end + DRAIN); /* still sending: what is late is to be late under load */
  is_sending = false;
  paused_at = now();
  bool is_written = fwrite(records, sizeof *records, record_count, file) == record_count;
  is_written = !fclose(file) && is_written;
  free(records);
  records = NULL;
  printf("{\"calls\": %u, \"begin\": %.9f, \"end\": %.9f, ", live_count, begin, end);
  printf("\"sent\": %" PRIu64 ", \"refused\": %" PRIu64 ", ", sent, tally.refused);
  printf("\"received\": %" PRIu64 ", \"damaged\": %" PRIu64 ", ", tally.received, tally.damaged);
  printf("\"answers\": %" PRIu64 ", \"unrecorded\": %" PRIu64 ", ", tally.answers, tally.unrecorded);
  printf("\"undelivered\": %" PRIu64 ", ", undelivered() - lost);
  printf("\"clock_step\": %.6f, ", measure_behind() - behind);
  printf("\"late_p99\": %.6f, \"late_max\": %.6f, \"own_cpu\": %.6f, \"cpu\": [", p99, longest, own);
  for (int i = 0; i < count; i++) printf("%s%.6f", i ? ", " : "", after[i] - before[i]);
  puts("]}");
  return is_written;
}

static bool obey(char *line) {
  char path[4096];
  double warm_up, seconds;
  uint32_t number;
  int from = 0, count = 0;
  pid_t processes[PROCESSES];
  accept_calls(); /* whatever was given before the line was written */
  if (sscanf(line, "drop %u", &number) == 1) return drop(number);
  if (sscanf(line, "run %lf %lf %4095s %n", &warm_up, &seconds, path, &from) != 3) return false;
  for (char *word = strtok(line + from, " \n"); word && count < PROCESSES; word = strtok(NULL, " \n"))
    processes[count++] = atoi(word);
  return run(warm_up, seconds, path, processes, count);
}

static void read_payloads(const char *path) {
  FILE *file = fopen(path, "rb");
  uint8_t size[2];
  while (file && payload_count < PAYLOADS && fread(size, 2, 1, file) == 1) {
    uint16_t length = size[0] << 8 | size[1];
    if (length > PAYLOAD || fread(payloads[payload_count].data, 1, length, file) != length) break;
    payloads[payload_count++].length = length;
  }
  if (!payload_count) exit(3);
  fclose(file);
}

static bool has_line(void) {
  static char line[8192];
  static size_t length;
  ssize_t got = read(STDIN_FILENO, line + length, sizeof line - 1 - length);
  if (got <= 0) exit(0);
  line[length += got] = 0;
  if (line[length - 1] != '\n') return length < sizeof line - 1;
  length = 0;
  bool is_done = obey(line);
  fflush(stdout);
  return is_done;
}

int main(int count, char **arguments) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (count != 3 || strlen(arguments[1]) >= sizeof address.sun_path) return 2;
  strcpy(address.sun_path, arguments[1]);
  read_payloads(arguments[2]);
  poller = epoll_create1(0);
  listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1)) return 3;
  printf("{\"payloads\": %u}\n", payload_count);
  fflush(stdout);
  behind = measure_behind();
  for (;;) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(STDIN_FILENO, &set);
    turn();
    accept_calls();
    if (select(STDIN_FILENO + 1, &set, NULL, NULL, &(struct timeval){0}) > 0 && !has_line()) return 2;
  }
}
