/* A reference for `voicegate bench relay`: a relay in C with recvmmsg and sendmmsg, one thread, IPv4.

     relay PUBLIC_PORT HOP_PORT TRANSCEIVER_PORT    (0: a free one; all on 127.0.0.1)

   It prints {"public": port, "hop": port} when it is ready, and ends with its standard input. Towards the
   transceiver it looks the client up in a hash table, puts our 24-byte hop header in front and sends; towards
   clients it goes by the header. Unlike voicegate it authenticates nobody, counts nothing and never ends a flow:
   whoever sends has one. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  BATCH = 64,
  HEADER = 24,
  SLOT = 2048 + HEADER,
  BATCHES_PER_TURN = 4, /* from one socket, before the other gets its turn */
  TABLE_BITS = 18,
  TABLE = 1 << TABLE_BITS,
  FLOWS = TABLE / 2,
  RECEIVE_BUFFER = 8 << 20,
};

struct header { /* as in voicegate/wire/hop.py */
  uint8_t magic, version_and_type;
  uint16_t length;
  uint8_t flags, reserved;
  uint16_t port;
  uint8_t prefix[12];
  uint32_t host;
};
_Static_assert(sizeof(struct header) == HEADER, "laid out as on the wire");

struct batch {
  struct mmsghdr messages[BATCH];
  struct iovec pieces[BATCH];
  struct sockaddr_in addresses[BATCH];
  uint8_t slots[BATCH][SLOT];
};

static uint64_t keys[TABLE];
static struct sockaddr_in transceivers[TABLE];
static int flows;

static struct sockaddr_in *find_flow(const struct sockaddr_in *client,
                                     const struct sockaddr_in *transceiver) {
  uint64_t key = (uint64_t)client->sin_addr.s_addr << 16 | client->sin_port;
  uint32_t at = key * 0x9E3779B97F4A7C15ull >> (64 - TABLE_BITS);
  while (keys[at] && keys[at] != key) at = (at + 1) & (TABLE - 1);
  if (!keys[at]) {
    if (flows == FLOWS) return NULL;
    flows++;
    keys[at] = key;
    transceivers[at] = *transceiver;
  }
  return &transceivers[at];
}

static int receive(int socket, struct batch *batch, int offset) {
  for (int i = 0; i < BATCH; i++) {
    batch->pieces[i] = (struct iovec){batch->slots[i] + offset, SLOT - offset};
    batch->messages[i].msg_hdr = (struct msghdr){
        .msg_iov = &batch->pieces[i], .msg_iovlen = 1,
        .msg_name = &batch->addresses[i], .msg_namelen = sizeof batch->addresses[i]};
  }
  return recvmmsg(socket, batch->messages, BATCH, MSG_DONTWAIT, NULL);
}

static void send_all(int socket, struct mmsghdr *messages, int count) {
  for (int sent; count > 0; messages += sent, count -= sent)
    if ((sent = sendmmsg(socket, messages, count, 0)) < 1) sent = 1; /* the first was refused */
}

/* Both of these leave at the front of the batch what is to be sent, and return how much that is. */

static int to_transceivers(struct batch *batch, int count, const struct sockaddr_in *transceiver) {
  int kept = 0;
  for (int i = 0; i < count; i++) {
    struct sockaddr_in client = batch->addresses[i], *destination = find_flow(&client, transceiver);
    if (!destination) continue;
    uint16_t length = batch->messages[i].msg_len;
    struct header header = {.magic = 0x56, .version_and_type = 0x10,
                            .length = htons(length), .port = client.sin_port,
                            .prefix = {[10] = 0xff, [11] = 0xff}, .host = client.sin_addr.s_addr};
    memcpy(batch->slots[i], &header, HEADER);
    batch->addresses[kept] = *destination;
    batch->pieces[kept++] = (struct iovec){batch->slots[i], HEADER + length};
  }
  return kept;
}

static int to_clients(struct batch *batch, int count) {
  int kept = 0;
  for (int i = 0; i < count; i++) {
    struct header header;
    memcpy(&header, batch->slots[i], HEADER);
    size_t length = ntohs(header.length);
    if (batch->messages[i].msg_len < HEADER + length) continue;
    if (header.magic != 0x56 || header.version_and_type != 0x10) continue;
    batch->addresses[kept] = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = header.port, .sin_addr.s_addr = header.host};
    batch->pieces[kept++] = (struct iovec){batch->slots[i] + HEADER, length};
  }
  return kept;
}

static struct sockaddr_in local(int port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int open_port(int port, int *bound) {
  int made = socket(AF_INET, SOCK_DGRAM, 0), size = RECEIVE_BUFFER;
  struct sockaddr_in address = local(port);
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

int main(int count, char **arguments) {
  static struct batch batch;
  if (count != 4) return 2;
  int public_port, hop_port;
  int public = open_port(atoi(arguments[1]), &public_port), hop = open_port(atoi(arguments[2]), &hop_port);
  struct sockaddr_in transceiver = local(atoi(arguments[3]));
  struct pollfd ready[] = {{public, POLLIN, 0}, {hop, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  printf("{\"public\": %d, \"hop\": %d}\n", public_port, hop_port);
  fflush(stdout);
  for (;;) {
    poll(ready, 3, -1);
    if (ready[2].revents) return 0;
    for (int turn = 0, got = BATCH; ready[0].revents && turn < BATCHES_PER_TURN && got == BATCH; turn++)
      if ((got = receive(public, &batch, HEADER)) > 0)
        send_all(hop, batch.messages, to_transceivers(&batch, got, &transceiver));
    for (int turn = 0, got = BATCH; ready[1].revents && turn < BATCHES_PER_TURN && got == BATCH; turn++)
      if ((got = receive(hop, &batch, 0)) > 0) send_all(public, batch.messages, to_clients(&batch, got));
  }
}
