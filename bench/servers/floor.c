/* The floor that fan-out is measured against: a WebSocket broadcast room in C, one thread, one epoll loop.
 *
 *     floor PORT each       one send() for each message and receiver
 *     floor PORT coalesced  what was read in one turn of the loop leaves in one send() per receiver
 *
 * Loopback only, and only for the load generator beside it: every handshake is answered with the
 * Sec-WebSocket-Accept of that one's fixed key, and whoever does not read loses messages.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DESCRIPTORS = 70000, INPUT = 16384, OUTPUT = 1 << 20 };

typedef struct {
    unsigned char *input;
    int have, place, open; /* bytes of input; index in the room; whether the handshake is done */
} Client;

static Client clients[DESCRIPTORS];
static int room[DESCRIPTORS], members, coalesced, waiting;
static unsigned char output[OUTPUT];

static const char ACCEPTED[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void flush(void) {
    for (int i = 0; i < members; i++)
        if (send(room[i], output, waiting, MSG_DONTWAIT | MSG_NOSIGNAL) != waiting)
            fputs("floor: a message was lost\n", stderr);
    waiting = 0;
}

static void say(const unsigned char *text, int size) {
    if (waiting + size + 4 > OUTPUT)
        flush();
    output[waiting++] = 0x81;
    if (size < 126) {
        output[waiting++] = size;
    } else {
        output[waiting++] = 126;
        output[waiting++] = size >> 8;
        output[waiting++] = size;
    }
    memcpy(output + waiting, text, size);
    waiting += size;
    if (!coalesced)
        flush();
}

static void leave(int fd) {
    Client *client = &clients[fd];
    if (client->open) {
        room[client->place] = room[--members];
        clients[room[client->place]].place = client->place;
    }
    free(client->input);
    memset(client, 0, sizeof *client);
    close(fd);
}

/* Takes one frame or handshake from the input; its size, 0 if it is incomplete, -1 at the end. */
static int take(int fd) {
    Client *client = &clients[fd];
    unsigned char *in = client->input;
    if (!client->open) {
        unsigned char *end = memmem(in, client->have, "\r\n\r\n", 4);
        if (!end)
            return 0;
        send(fd, ACCEPTED, sizeof ACCEPTED - 1, MSG_NOSIGNAL);
        client->open = 1;
        client->place = members;
        room[members++] = fd;
        return end + 4 - in;
    }
    if (client->have < 6)
        return 0;
    int size = in[1] & 127, head = 6;
    if (size == 127 || (in[0] & 15) == 8)
        return -1;
    if (size == 126) {
        size = in[2] << 8 | in[3];
        head = 8;
    }
    if (client->have < head + size)
        return 0;
    for (int i = 0; i < size; i++)
        in[head + i] ^= in[head - 4 + (i & 3)];
    if ((in[0] & 15) == 1)
        say(in + head, size);
    return head + size;
}

static void readable(int fd) {
    Client *client = &clients[fd];
    int got = recv(fd, client->input + client->have, INPUT - client->have, 0), used;
    if (got <= 0) {
        leave(fd);
        return;
    }
    client->have += got;
    while ((used = take(fd)) > 0) {
        client->have -= used;
        memmove(client->input, client->input + used, client->have);
    }
    if (used < 0)
        leave(fd);
}

int main(int count, char **arguments) {
    if (count != 3)
        return 2;
    coalesced = !strcmp(arguments[2], "coalesced");
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1, loop = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(atoi(arguments[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("floor");
        return 1;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[512];
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(loop, events, 512, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd, client;
            if (fd != listener) {
                readable(fd);
                continue;
            }
            while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (client >= DESCRIPTORS) {
                    close(client);
                    continue;
                }
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                clients[client].input = malloc(INPUT);
                event.data.fd = client;
                epoll_ctl(loop, EPOLL_CTL_ADD, client, &event);
            }
        }
        if (waiting)
            flush();
    }
}
