// A load client for measuring gateways: one epoll thread, C kept-alive connections, closed loop.
// usage: load PORT CONNECTIONS SECONDS KEY stream|plain|prompt|answer|large|rough [HOST] -> one JSON line;
// prompt: 100 KB asked; answer: 1 MB answered; large: both. rough: plain, every tenth request a stream, and
// at every tenth the client hangs up: of four times twice as soon as it has asked, once so in a stream,
// and once in the middle of a stream.
// Counts what came back whole; "lost" is a stream that ended without [DONE] or broke off. Streamed
// events carry their send time (see mock_worker.c), so chunk_us is the one-way delay of each.
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

enum { BUFFER = 1 << 17 };
typedef struct { float *at; size_t n, room; } Series;
typedef struct Peer { int fd, chunked, first, told_done, streams, leaves; long left; size_t head, len; uint64_t sent; char buf[BUFFER]; } Peer;

static int poller, port, streaming, rough, open_count;
enum { PROMPT = 100000 };
typedef struct { char text[PROMPT + 2048]; size_t len; } Request;
static Request request, streamed;  // streamed: the second kind of a rough load
static uint64_t t_count, t_stop;
static long ok, bad, lost, aborted, midway, whole_streams, chunks, all, all_chunks;  // all: with the warm-up, for CPU per piece
static Series latency, ttft, chunk;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static void note(Series *s, double us) {
  if (s->n == s->room) s->at = realloc(s->at, (s->room = s->room ? 2 * s->room : 1 << 16) * sizeof(float));
  s->at[s->n++] = (float)us;
}
static int by_size(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}
static void tell(const char *name, Series *s) {
  qsort(s->at, s->n, sizeof(float), by_size);
  double p50 = s->n ? s->at[s->n / 2] : 0, p99 = s->n ? s->at[s->n * 99 / 100] : 0;
  printf(",\"%s\":{\"n\":%zu,\"p50\":%.1f,\"p99\":%.1f}", name, s->n, p50, p99);
}

static void dial(Peer *p) {
  int one = 1;
  p->fd = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(p->fd, (struct sockaddr *)&to, sizeof to)) { perror("load: connect"); exit(1); }
  fcntl(p->fd, F_SETFL, O_NONBLOCK);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
  epoll_ctl(poller, EPOLL_CTL_ADD, p->fd, &e);
}
static void fire(Peer *p);
static void leave(Peer *p) {
  struct linger now = {.l_onoff = 1, .l_linger = 0};  // a reset: no port waits for what may still come
  setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(p->fd);
  aborted++;
  dial(p);
  fire(p);
}
static void fire(Peer *p) {
  static long asked;
  p->head = p->len = 0; p->left = -1; p->chunked = 0; p->first = 1; p->told_done = 0;
  p->streams = streaming; p->leaves = 0;
  if (rough) {
    long number = asked++, turn = number / 10 % 4;
    p->leaves = number % 10 == 0;
    p->streams = p->leaves ? turn >= 2 : number % 10 == 5;
    p->leaves += p->leaves && turn == 3;  // 1: at once, 2: at the first event
  }
  Request *r = p->streams && rough ? &streamed : &request;
  p->sent = now_ns();
  for (size_t at = 0; at < r->len;) {
    ssize_t n = send(p->fd, r->text + at, r->len - at, MSG_NOSIGNAL);
    if (n > 0) { at += (size_t)n; continue; }
    if (n < 0 && errno == EAGAIN) continue;
    bad++; close(p->fd); dial(p); at = 0;
  }
  if (p->leaves == 1) leave(p);
}
static void finish(Peer *p, int good) {
  uint64_t t = now_ns();
  all++;
  if (p->sent >= t_count) {
    if (!good) bad++;
    else if (p->streams && !p->told_done) lost++;
    else { ok++; whole_streams += p->streams; note(&latency, (double)(t - p->sent) / 1e3); }
  }
  if (t >= t_stop) { close(p->fd); p->fd = -1; open_count--; return; }
  if (!good) { close(p->fd); dial(p); }
  fire(p);
}
static void read_events(Peer *p, size_t from) {  // time stamps and the end, in what is new
  uint64_t t = now_ns();
  char *at = p->buf + from, *end = p->buf + p->len, *s;
  while ((s = memmem(at, (size_t)(end - at), "\"TS0", 4))) {
    if (end - s < 20) break;
    uint64_t told = strtoull(s + 3, NULL, 10);
    all_chunks++;
    if (p->sent >= t_count) {
      chunks++;
      note(&chunk, (double)(t - told) / 1e3);
      if (p->first) note(&ttft, (double)(t - p->sent) / 1e3);
    }
    p->first = 0;
    at = s + 20;
  }
  if (memmem(p->buf + from, p->len - from, "data: [DONE]", 12)) p->told_done = 1;
}
static void take(Peer *p) {
  size_t before = p->len;
  ssize_t n = recv(p->fd, p->buf + p->len, BUFFER - 1 - p->len, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) { if (p->sent >= t_count) lost++; finish(p, 0); return; }
  p->len += (size_t)n;
  p->buf[p->len] = 0;
  if (!p->head) {
    char *end = memmem(p->buf, p->len, "\r\n\r\n", 4);
    if (!end) return;
    p->head = (size_t)(end + 4 - p->buf);
    int status = atoi(p->buf + 9);
    *end = 0;
    char *length = strcasestr(p->buf, "content-length:");
    p->chunked = strcasestr(p->buf, "transfer-encoding: chunked") != NULL;
    *end = '\r';
    p->left = length ? atol(length + 15) : -1;
    if (status != 200) { static int shown; if (shown++ < 3) fprintf(stderr, "load: %.200s\n", p->buf); finish(p, 0); return; }
    before = p->head;
  }
  if (p->chunked) {
    size_t from = before > p->head + 24 ? before - 24 : p->head;  // a mark may straddle two reads
    if (from < before) {  // count no mark twice: step past the last whole one
      char *s = memmem(p->buf + from, before - from, "\"TS0", 4);
      if (s && s + 20 <= p->buf + before) from = before;
    }
    read_events(p, from);
    if (p->leaves && !p->first) { midway++; leave(p); return; }
    if (p->len >= 5 && !memcmp(p->buf + p->len - 5, "0\r\n\r\n", 5)) { finish(p, 1); return; }
    if (p->len > BUFFER / 2) {  // a long stream: keep the last bytes only
      memmove(p->buf + p->head, p->buf + p->len - 64, 64);
      p->len = p->head + 64;
    }
  } else if ((long)(p->len - p->head) >= p->left) finish(p, 1);
  else if (p->len > BUFFER / 2) {  // a long answer: only its length counts
    p->left -= (long)(p->len - p->head);
    p->len = p->head;
  }
}

static void compose(Request *r, const char *host, const char *key, int prompt, int answer, int stream) {
  static char body[PROMPT + 512], text[PROMPT + 1];
  if (prompt) memset(text, 'a', PROMPT);
  else strcpy(text, "Say something short about nothing in particular.");
  int body_len = snprintf(body, sizeof body,
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}],\"max_tokens\":%s%s}",
    text, answer ? "100000" : "100", stream ? ",\"stream\":true" : "");
  r->len = (size_t)snprintf(r->text, sizeof r->text,
    "POST /v1/chat/completions HTTP/1.1\r\nhost: %s\r\nauthorization: Bearer %s\r\n"
    "content-type: application/json\r\ncontent-length: %d\r\n\r\n%s", host, key, body_len, body);
}

int main(int argc, char **argv) {
  if (argc != 6 && argc != 7) { fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS KEY stream|plain|prompt|answer|large|rough [HOST]\n"); return 2; }
  port = atoi(argv[1]);
  int count = atoi(argv[2]);
  double seconds = atof(argv[3]);
  streaming = !strcmp(argv[5], "stream");
  rough = !strcmp(argv[5], "rough");
  int is_large = !strcmp(argv[5], "large");
  char host[256];
  snprintf(host, sizeof host, "127.0.0.1:%d", port);
  if (argc == 7) snprintf(host, sizeof host, "%s", argv[6]);
  int prompt = is_large || !strcmp(argv[5], "prompt"), answer = is_large || !strcmp(argv[5], "answer");
  compose(&request, host, argv[4], prompt, answer, streaming);
  compose(&streamed, host, argv[4], 0, 0, 1);
  poller = epoll_create1(0);
  t_count = now_ns() + 500000000u;  // half a second to warm up
  t_stop = t_count + (uint64_t)(seconds * 1e9);
  Peer *peers = calloc((size_t)count, sizeof *peers);
  for (int i = 0; i < count; i++) { dial(&peers[i]); fire(&peers[i]); open_count++; }
  uint64_t give_up = t_stop + 30000000000u;
  while (open_count > 0 && now_ns() < give_up) {
    struct epoll_event got[256];
    int n = epoll_wait(poller, got, 256, 1000);
    for (int i = 0; i < n; i++) take(got[i].data.ptr);
  }
  lost += open_count;
  printf("{\"ok\":%ld,\"bad\":%ld,\"lost\":%ld,\"chunks\":%ld,\"all\":%ld,\"all_chunks\":%ld,\"aborted\":%ld,\"midway\":%ld,\"streams\":%ld",
         ok, bad, lost, chunks, all, all_chunks, aborted, midway, whole_streams);
  tell("latency_us", &latency); tell("ttft_us", &ttft); tell("chunk_us", &chunk);
  printf("}\n");
  return 0;
}
