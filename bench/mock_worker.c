// A mock model worker for measuring gateways: one epoll thread, HTTP/1.1 with keep-alive.
// usage: mock_worker PORT CHUNKS INTERVAL_US
// A request whose body holds "stream":true gets server-sent events, the first at once and one at
// each step of INTERVAL_US, the same steps for all streams, as an engine that batches decodes; half
// of CHUNKS to one and a half of it, so that streams which began together do not end together; each with its send time (CLOCK_MONOTONIC ns) as its text, then usage if it was asked for, then
// [DONE]. Any other POST gets one fixed chat completion, of 1 MB where "max_tokens":100000 is asked for. GET
// gets "ok". Prints "ready" when it is.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN_MAX = 1 << 18, OUT_MAX = 1 << 21, LARGE = 1000000 };
typedef struct Peer {
  int fd, left, told, usage, slot;  // left: events still to send; slot: place in the ring, -1 = none
  size_t in_len, out_len, out_at;
  uint64_t due;
  struct Peer *next;
  char in[IN_MAX], out[OUT_MAX];
} Peer;

static int poller, chunks_each, streams;
static uint64_t interval_ns;
static Peer *head, *tail;  // streams by due time: one interval for all, so a queue stays sorted
static char plain[1024], large[LARGE + 1024];
static size_t plain_len, large_len;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t step_after(uint64_t t) { return (t / interval_ns + 1) * interval_ns; }

static void watch(Peer *p, uint32_t events) {
  struct epoll_event e = {.events = events, .data.ptr = p};
  epoll_ctl(poller, EPOLL_CTL_MOD, p->fd, &e);
}

static int push(Peer *p) {  // 0: all went out, or waits for the socket; -1: the peer is gone
  while (p->out_at < p->out_len) {
    ssize_t n = send(p->fd, p->out + p->out_at, p->out_len - p->out_at, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) { watch(p, EPOLLIN | EPOLLOUT); return 0; }
    if (n < 0) return -1;
    p->out_at += (size_t)n;
  }
  p->out_at = p->out_len = 0;
  return 0;
}

static void say(Peer *p, const char *bytes, size_t n) {
  if (p->out_len + n > OUT_MAX) return;  // a reader this slow is no part of a measurement
  memcpy(p->out + p->out_len, bytes, n);
  p->out_len += n;
}

static void event(Peer *p, const char *json) {
  char text[900];
  int body = snprintf(NULL, 0, "data: %s\n\n", json);
  say(p, text, (size_t)snprintf(text, sizeof text, "%x\r\ndata: %s\n\n\r\n", body, json));
}

static void queue(Peer *p, uint64_t due) {
  p->due = due; p->next = NULL; p->slot = 1;
  if (tail) tail->next = p; else head = p;
  tail = p;
}

static void unqueue(Peer *p) {
  if (p->slot < 0) return;
  p->slot = -1;
  Peer *before = NULL, *at = head;
  while (at && at != p) { before = at; at = at->next; }
  if (!at) return;
  if (before) before->next = p->next; else head = p->next;
  if (tail == p) tail = before;
}

static void tick(Peer *p) {  // the next event of a stream
  char json[640];
  const char *end = p->left == 1 ? "\"stop\"" : "null";
  snprintf(json, sizeof json,
    "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"m\","
    "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"TS%016llu\"},\"logprobs\":null,\"finish_reason\":%s}]}",
    (unsigned long long)now_ns(), end);
  event(p, json);
  if (--p->left > 0) return;
  if (p->usage) {
    snprintf(json, sizeof json,
      "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"m\","
      "\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"total_tokens\":%d,\"completion_tokens\":%d}}", 9 + p->told, p->told);
    event(p, json);
  }
  event(p, "[DONE]");
  say(p, "0\r\n\r\n", 5);
}

static void answer(Peer *p, const char *head_end, const char *body, size_t body_len) {
  (void)head_end;
  if (!strncmp(p->in, "GET", 3)) {
    static const char ok[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    say(p, ok, sizeof ok - 1);
    return;
  }
  if (memmem(body, body_len, "\"stream\":true", 13) || memmem(body, body_len, "\"stream\": true", 14)) {
    static const char h[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                            "transfer-encoding: chunked\r\n\r\n";
    say(p, h, sizeof h - 1);
    p->told = p->left = chunks_each / 2 + 1 + streams++ * 37 % (chunks_each + 1);
    p->usage = memmem(body, body_len, "include_usage", 13) != NULL;
    tick(p);  // the first token at once, so that what waits here waits for a step
    if (p->left > 0) queue(p, step_after(now_ns()));
    return;
  }
  if (memmem(body, body_len, "\"max_tokens\":100000", 19)) { say(p, large, large_len); return; }
  say(p, plain, plain_len);
}

static void make_large(void) {  // the same answer with a long text
  static const char before[] =
    "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"m\",\"choices\":"
    "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
  static const char after[] =
    "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\"total_tokens\":41,\"completion_tokens\":32}}";
  large_len = (size_t)snprintf(large, sizeof large,
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
    sizeof before - 1 + LARGE + sizeof after - 1, before);
  memset(large + large_len, 'a', LARGE);
  memcpy(large + large_len + LARGE, after, sizeof after - 1);
  large_len += LARGE + sizeof after - 1;
}

static int take(Peer *p) {  // whole requests in p->in; -1: give the peer up
  for (;;) {
    char *end = memmem(p->in, p->in_len, "\r\n\r\n", 4);
    if (!end) return p->in_len < IN_MAX ? 0 : -1;
    *end = 0;
    char *length = strcasestr(p->in, "content-length:");
    *end = '\r';
    size_t body_len = length && length < end ? strtoul(length + 15, NULL, 10) : 0;
    size_t whole = (size_t)(end + 4 - p->in) + body_len;
    if (whole > IN_MAX) return -1;
    if (p->in_len < whole) return 0;
    answer(p, end, end + 4, body_len);
    memmove(p->in, p->in + whole, p->in_len - whole);
    p->in_len -= whole;
  }
}

static void drop(Peer *p) { unqueue(p); close(p->fd); free(p); }

static void serve(Peer *p, uint32_t events) {
  if (events & EPOLLIN) {
    ssize_t n = recv(p->fd, p->in + p->in_len, IN_MAX - p->in_len, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) { drop(p); return; }
    if (n > 0) p->in_len += (size_t)n;
    if (take(p)) { drop(p); return; }
  }
  if (events & EPOLLOUT) watch(p, EPOLLIN);
  if (push(p)) drop(p);
}

int main(int argc, char **argv) {
  if (argc != 4) { fprintf(stderr, "usage: mock_worker PORT CHUNKS INTERVAL_US\n"); return 2; }
  chunks_each = atoi(argv[2]);
  interval_ns = strtoull(argv[3], NULL, 10) * 1000u;
  static const char body[] =
    "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"m\",\"choices\":"
    "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"A fixed answer of a mock worker, long enough to "
    "look like a short reply of a real model and no longer than that.\",\"refusal\":null,\"tool_calls\":[]},"
    "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\"total_tokens\":41,"
    "\"completion_tokens\":32,\"prompt_tokens_details\":null}}";
  plain_len = (size_t)snprintf(plain, sizeof plain,
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", sizeof body - 1, body);
  make_large();
  int door = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(door, (struct sockaddr *)&at, sizeof at) || listen(door, 1024)) { perror("mock_worker"); return 1; }
  fcntl(door, F_SETFL, O_NONBLOCK);
  poller = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(poller, EPOLL_CTL_ADD, door, &e);
  printf("ready\n"); fflush(stdout);
  for (;;) {
    struct epoll_event got[256];
    int wait_ms = -1;
    if (head) {
      uint64_t t = now_ns();
      wait_ms = head->due <= t ? 0 : (int)((head->due - t + 999999) / 1000000);
    }
    int n = epoll_wait(poller, got, 256, wait_ms);
    for (int i = 0; i < n; i++) {
      if (got[i].data.ptr) { serve(got[i].data.ptr, got[i].events); continue; }
      for (int fd; (fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Peer *p = malloc(sizeof *p);
        p->fd = fd; p->left = p->told = p->usage = 0; p->slot = -1; p->in_len = p->out_len = p->out_at = 0; p->next = NULL;
        struct epoll_event a = {.events = EPOLLIN, .data.ptr = p};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &a);
      }
    }
    uint64_t t = now_ns();
    for (int budget = 512; head && head->due <= t && budget; budget--) {
      Peer *p = head;
      head = p->next;
      if (!head) tail = NULL;
      p->slot = -1;
      tick(p);
      if (p->left > 0) queue(p, step_after(t));
      if (push(p)) drop(p);
    }
  }
}
