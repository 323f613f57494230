/* SPDX-License-Identifier: MIT */
/*
 * Access control and the data that follows: handshakes of hostile and honest peers, several at a time, with a shared
 * secret, over TLS, with both or neither, until a worker has the connection; and the relays of TLS behind that.
 *
 * Input: a byte or two of settings, then a script: each step is a byte that says what a peer, a worker or the
 * environment does, followed by arguments. Peers send anything: correct or flawed parts of a handshake, what others
 * have sent, bytes of the input. A model parses what each has sent, and knows what has to happen to it. A proof admits
 * a peer only if it is that of this very exchange, and if the script gave it to this peer: nonces depend on the whole
 * input, so that no input can contain a proof.
 */
#include "admission.h"

#include <sys/socket.h>
#include <unistd.h>

#include "tests/protocol/alloc.h"
#include "world.h"

enum setting {
    LIMIT = 3, /* of concurrent handshakes, less one */
    SECRET = 4,
    NO_TIMEOUT = 8,
    PIECES = 48, /* index into the list below */
    SMALL_PAIRS = 64,
    PEERS_GO_FIRST = 128,
};

static const unsigned char pieces[] = {0, 1, 3, 17};

struct server server;
struct peer peers[PEERS];
size_t peer_count;

static struct input input;
static size_t piece; /* bytes that peers send at once; 0: everything */

/* ---- the server's callbacks ---- */

/* Only what begins like a record of real TLS is read before, which is no greeting here. */
static struct ax_tls *on_tls(struct ax_handshakes *set, void *arg, int fd, const void *first, size_t first_size)
{
    struct peer *peer = arg;

    CHECK(first_size == 0 || *(const unsigned char *)first != TLS_HELLO);

    CHECK(set == &server.set && peer->has_tls && peer->is_free && fd == peer->server_fd);
    peer->is_free = false;
    return &peer->tls;
}

static int on_secured(struct ax_handshakes *set, void *arg, int fd, struct ax_tls *tls)
{
    struct peer *peer = arg;

    CHECK(set == &server.set && peer->outcome == PENDING);
    CHECK(peer->is_greeted && !peer->is_secured && fd == peer->server_fd && tls == &peer->tls);
    peer->is_secured = true;
    peer->pair_fd = ax_relay_start(&server.relays, fd, tls, (uint64_t)(peer - peers));
    CHECK(peer->pair_fd >= 0 || (peer->is_free && peer->is_disturbed));
    return peer->pair_fd;
}

/* Nothing after the superblock is read: the worker finds it in the socket. */
static void check_rest(const struct peer *peer, int fd)
{
    const unsigned char *unread;
    size_t size = world_unread(fd, &unread);

    CHECK(world_consumed(fd) == peer->read && peer->read + size <= peer->said.size);
    CHECK(memcmp(unread, peer->said.bytes + peer->read, size) == 0);
    CHECK(peer->has_tls || peer->read + size == peer->said.size);
}

static void on_done(struct ax_handshakes *set, void *arg, int fd, const unsigned char *received, size_t size)
{
    struct peer *peer = arg;

    CHECK(set == &server.set && peer->outcome == PENDING);
    CHECK(fd == (peer->has_tls ? peer->pair_fd : peer->server_fd));
    model_attend(peer);
    CHECK(peer->stage == RIGHT && (peer->may_prove || !peer->needs_proof));
    CHECK(size == AX_SUPERBLOCK_SIZE && memcmp(received, peer->said.bytes + peer->read - size, size) == 0);
    check_rest(peer, fd);
    peer->outcome = ADMITTED;
    peer->worker_fd = fd;
    world_take(fd);
}

static void on_failed(struct ax_handshakes *set, void *arg, const char *reason)
{
    struct peer *peer = arg;
    bool is_to_go;

    CHECK(set == &server.set && peer->outcome == PENDING);
    peer->outcome = FAILED;
    model_attend(peer);
    CHECK(reason == NULL || (reason[0] != '\0' && strlen(reason) < 512));
    CHECK(reason != NULL || peer->read == peer->said.size || peer->has_tls || server.is_stopping);
    is_to_go = peer->has_ended || model_is_late(peer) || model_is_crowded_out(peer);
    /* Bytes inside a relay have not reached the handshake yet. */
    CHECK(peer->stage == WRONG || peer->is_disturbed || server.is_stopping ||
          (is_to_go && (peer->stage != RIGHT || peer->has_tls)));
}

static void on_relay_gone(struct ax_relays *relays, uint64_t id)
{
    CHECK(relays == &server.relays && id < peer_count && peers[id].is_secured);
    CHECK(peers[id].has_ended || peers[id].is_disturbed);
}

static void on_relay_ended(struct ax_relays *relays)
{
    CHECK(relays == &server.relays);
}

/* Until nothing more happens. Then everyone has received everything. */
static void settle(void)
{
    world_run();
    for (size_t i = 0; i < peer_count; i++) {
        struct peer *peer = &peers[i];

        if (!peer->is_slow)
            model_attend(peer);
        if (peer->outcome == PENDING && !peer->is_disturbed && !peer->is_slow)
            CHECK(peer->stage < RIGHT && !peer->has_ended && !model_is_late(peer));
        CHECK(peer->outcome != PENDING || !model_is_late(peer));
    }
}

/* ---- what peers do ---- */

static void say_raw(struct peer *peer, const unsigned char *bytes, size_t size)
{
    CHECK(send(peer->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size);
}

/* Whether the server still reads from it. */
static bool can_say(const struct peer *peer)
{
    bool is_served = peer->has_tls ? !peer->is_free : peer->worker_fd >= 0;

    return !peer->has_ended && (peer->outcome == PENDING || (peer->outcome == ADMITTED && is_served));
}

static void greet(struct peer *peer, unsigned char hello)
{
    if (!peer->has_tls || peer->has_greeted || !can_say(peer))
        return;
    peer->has_greeted = true;
    say_raw(peer, &hello, 1);
    if (hello != TLS_HELLO)
        peer->stage = WRONG;
}

/* Without checking whether it can. */
static void say_piece(struct peer *peer, const unsigned char *bytes, size_t size)
{
    unsigned char changed[TALK];

    memmove(peer->said.bytes + peer->said.size, bytes, size);
    for (size_t i = 0; i < size; i++)
        changed[i] = (unsigned char)(peer->said.bytes[peer->said.size + i] ^ (peer->has_tls ? TLS_KEY : 0));
    peer->said.size += size;
    say_raw(peer, changed, size);
}

/* As much as fits, in pieces that the server sees one by one. */
static void say(struct peer *peer, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    size_t rest = at_most(size, TALK - peer->said.size);

    greet(peer, TLS_HELLO);
    while (rest > 0 && can_say(peer) && !(peer->has_tls && peer->stage == WRONG)) {
        size_t here = piece > 0 ? at_most(rest, piece) : rest;

        say_piece(peer, bytes, here);
        if (piece > 0)
            world_run();
        bytes += here;
        rest -= here;
    }
}

static void say_hello(struct peer *peer)
{
    unsigned char message[AX_EXCHANGE_SIZE];
    unsigned char nonce[AX_NONCE_SIZE];

    model_make_nonce(nonce, sizeof nonce);
    ax_exchange_put(message, AX_EXCHANGE_HELLO, nonce);
    say(peer, message, sizeof message);
}

enum flaw { FLAWLESS, FLIPPED, OTHER_ROLE, OTHER_SECRET, OLD_SECRET, SWAPPED, OTHER_EXCHANGE, CUT, LONGER, FLAWS };

/* The proof that this peer should give, or a flawed one. */
static void make_proof(const struct peer *peer, enum flaw flaw, unsigned char proof[AX_PROOF_SIZE])
{
    const struct peer *other = flaw == OTHER_EXCHANGE ? &peers[take_byte(&input) % peer_count] : peer;
    const unsigned char *client_nonce = peer->said.bytes + 8;
    const unsigned char *server_nonce = other->heard.bytes + 8;
    struct ax_secret secret = flaw == OLD_SECRET ? server.old_secret : server.secret;

    if (flaw == OTHER_SECRET)
        secret.bytes[take_byte(&input) % secret.size] ^= 1;
    if (flaw == SWAPPED)
        model_prove(&secret, "client", server_nonce, client_nonce, proof);
    else
        model_prove(&secret, flaw == OTHER_ROLE ? "server" : "client", client_nonce, server_nonce, proof);
}

static void say_proof(struct peer *peer, unsigned how)
{
    enum flaw flaw = how % FLAWS;
    unsigned char message[AX_EXCHANGE_SIZE + 16] = {0};
    unsigned char proof[AX_PROOF_SIZE], right[AX_PROOF_SIZE];
    size_t size = AX_EXCHANGE_SIZE;
    unsigned bit;

    model_attend(peer);
    model_prove_own(peer, "client", right);
    make_proof(peer, flaw, proof);
    /* A previous exchange's proof may be this one's; and an old secret may be in use again before the server checks. */
    if (model_has_nonces(peer) && (flaw == OLD_SECRET || model_crypto.is_equal(proof, right, sizeof right)))
        peer->may_prove = true;
    ax_exchange_put(message, AX_EXCHANGE_PROOF, proof);
    bit = flaw == FLIPPED ? (take_byte(&input) + how * 256) % (8 * AX_EXCHANGE_SIZE) : 0;
    if (flaw == FLIPPED)
        message[bit / 8] ^= (unsigned char)(1u << bit % 8);
    if (flaw == CUT)
        size -= 1 + take_byte(&input) % AX_EXCHANGE_SIZE;
    if (flaw == LONGER)
        size += 1 + take_byte(&input) % 16;
    say(peer, message, size);
}

static void say_superblock(struct peer *peer, unsigned how)
{
    static const unsigned char starts[][8] = {
        {0xe3, 0x5b, 0x9e, 0x78, 0, 2, 0, 1}, {0xe3, 0x5b, 0x9e, 0x78, 0, 1, 9, 0},
        {0xe5, 0x4e, 0x6d, 0x01, 0, 2, 0, 0}, {0x5b, 0xb5, 0x8a, 0x44, 0, 1, 0, 0},
        {0xe3, 0x5b, 0x9e, 0x78, 0, 3, 0, 1}, {0xe5, 0x4e, 0x6d, 0x01, 0, 2, 1, 0},
        {0x5b, 0xb5, 0x8a, 0x44, 2, 1, 0, 0}, {'G', 'E', 'T', ' ', '/', ' ', 'H', 'T'},
    };
    unsigned char bytes[AX_SUPERBLOCK_SIZE] = {0};

    memcpy(bytes, starts[how % 8], 8);
    bytes[11] = (unsigned char)(how / 8);
    say(peer, bytes, sizeof bytes);
}

/* Repeats something sent or received before, or a part of it. */
static void say_again(struct peer *peer, const struct talk *talk)
{
    size_t from = take_byte(&input);
    size_t size = take_byte(&input);

    if (from < talk->size)
        say(peer, talk->bytes + from, at_most(size, talk->size - from));
}

static void say_bytes(struct peer *peer)
{
    struct input bytes = take_bytes(&input, take_byte(&input));

    say(peer, bytes.data, bytes.size);
}

/* Everything that an honest peer sends, except for one flaw. */
static void log_in(struct peer *peer, unsigned how)
{
    if (peer->needs_proof) {
        say_hello(peer);
        settle();
        say_proof(peer, how % 16 < 8 ? FLAWLESS : how / 16);
    }
    say_superblock(peer, how % 4);
    say_bytes(peer);
}

/* Unread data turns a close into a reset; the order of events aside, so does this. */
static void hang_up(struct peer *peer)
{
    if (peer->fd < 0)
        return;
    peer->is_disturbed = peer->has_ended = true;
    model_attend(peer);
    close(peer->fd);
    peer->fd = -1;
}

static void set_capacity(struct peer *peer, size_t capacity)
{
    peer->is_slow = capacity < WORLD_QUEUE;
    if (peer->fd >= 0)
        world_set_capacity(peer->fd, capacity);
    /* The server does not wait for a peer that does not read a reply: a new socket's buffer has space for it. */
    if (!peer->has_tls && peer->outcome == PENDING && capacity < 2 * AX_EXCHANGE_SIZE)
        peer->is_disturbed = true;
}

static void end_somehow(struct peer *peer, unsigned how)
{
    switch (how % 8) {
    case 0:
    case 1:
        if (!peer->has_ended)
            shutdown(peer->fd, SHUT_WR);
        peer->has_ended = true;
        break;
    case 2:
        hang_up(peer);
        break;
    case 3:
        if (peer->fd >= 0)
            world_reset(peer->fd);
        peer->is_disturbed = peer->has_ended = true;
        break;
    case 4:
        greet(peer, (unsigned char)how);
        break;
    case 5:
        peer->wants_write = true;
        break;
    case 6:
        peer->is_broken = peer->is_disturbed = true;
        break;
    default:
        set_capacity(peer, how < 128 ? how / 8 : WORLD_QUEUE);
    }
}

static void add_peer(unsigned how)
{
    struct peer *peer = &peers[peer_count];
    int fds[2];

    if (peer_count == PEERS)
        return;
    peer_count++;
    memset(peer, 0, sizeof *peer);
    world_pair(fds);
    *peer =
        (struct peer){.tls = {&tls_methods}, .outcome = PENDING, .fd = fds[0], .server_fd = fds[1], .worker_fd = -1};
    peer->since = world.now;
    peer->has_tls = (how & 1) != 0;
    peer->is_free = true; /* until it is created */
    peer->needs_proof = (how & 6) != 0;
    peer->stage = peer->needs_proof ? AT_HELLO : AT_SUPERBLOCK;
    peer->is_disturbed = server.is_faulty;
    if ((how & 8) != 0) /* usually it has begun before the server polls it */
        greet(peer, TLS_HELLO);
    if ((how & 16) != 0)
        say_hello(peer);
    if ((how & 32) != 0)
        say_superblock(peer, how / 64);
    server.is_crowded = server.set.count >= server.set.limit;
    ax_handshakes_add(&server.set, &server.source, peer->server_fd, peer->has_tls, peer->needs_proof, peer);
    server.is_crowded = false;
}

/* ---- what the worker does with its connection ---- */

static void worker_says(struct peer *peer)
{
    struct input bytes = take_bytes(&input, take_byte(&input));
    size_t capacity = at_most(TALK / 2 - peer->worker_said.size, bytes.size); /* the exchange counts as received, too */
    ssize_t sent = capacity > 0 ? send(peer->worker_fd, bytes.data, capacity, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

    if (sent <= 0)
        return;
    memcpy(peer->worker_said.bytes + peer->worker_said.size, bytes.data, (size_t)sent);
    peer->worker_said.size += (size_t)sent;
}

static void end_worker(struct peer *peer)
{
    if (!peer->worker_has_ended)
        peer->worker_ended_at = world.now;
    peer->worker_has_ended = true;
}

/* What the worker has not read stays unread; a TLS peer still gets everything. */
static void worker_hangs_up(struct peer *peer)
{
    if (peer->worker_fd < 0)
        return;
    if (!peer->has_tls)
        peer->is_disturbed = true;
    close(peer->worker_fd);
    peer->worker_fd = -1;
    end_worker(peer);
}

static void work(struct peer *peer, unsigned how)
{
    if (peer->worker_fd < 0)
        return;
    switch (how % 8) {
    case 0:
    case 1:
        if (!peer->worker_has_ended)
            worker_says(peer);
        break;
    case 2:
        if (peer->has_tls) /* unread data fills its relay */
            world_set_capacity(peer->worker_fd, how / 8);
        break;
    case 3:
    case 4:
    case 5:
        model_attend_worker(peer);
        break;
    case 6:
        shutdown(peer->worker_fd, SHUT_WR);
        end_worker(peer);
        break;
    default:
        worker_hangs_up(peer);
    }
}

/* ---- what happens to all of them ---- */

static void disturb_all(void)
{
    for (size_t i = 0; i < peer_count; i++)
        peers[i].is_disturbed = true;
}

/* No peer waits for another. */
static void evict(void)
{
    for (size_t i = 0; i < peer_count; i++) {
        set_capacity(&peers[i], WORLD_QUEUE);
        if (peers[i].worker_fd >= 0)
            world_set_capacity(peers[i].worker_fd, WORLD_QUEUE);
    }
}

/* Proofs with the old secret have been checked before. */
static void reload(unsigned how)
{
    evict();
    settle();
    server.old_secret = server.secret;
    if (how % 4 == 1)
        server.secret.bytes[how / 4 % server.secret.size] ^= 0x80;
    server.set.secret = how % 4 == 2 ? NULL : &server.secret;
}

static void pass_time(unsigned ms)
{
    uint64_t linger = server.relays.hurries ? AX_RELAY_HURRY_MS : AX_RELAY_LINGER_MS;

    world.now += ms;
    for (size_t i = 0; i < peer_count; i++)
        if (peers[i].worker_has_ended && world.now >= peers[i].worker_ended_at + linger)
            peers[i].is_disturbed = true; /* what it has not received yet is lost */
}

/* Makes one of the next allocations fail, or the next call of some kind. */
static void break_something(unsigned how)
{
    server.is_faulty = how % 8 != 0;
    alloc_fail_at(how % 8 == 7 ? 1 + how / 8 : 0);
    server.hmac_fails = how % 8 == 6;
    world.fault = how % 8 < WORLD_FAULTS ? (enum world_fault)(how % 8) : WORLD_NO_FAULT;
    if (server.is_faulty)
        disturb_all();
}

static void stop(unsigned how)
{
    server.is_stopping = true;
    ax_handshakes_fail_all(&server.set, how % 2 == 0 ? NULL : "acrossd is about to end");
    server.is_stopping = false;
    if (how < 128)
        return;
    disturb_all(); /* in the daemon, their workers have exited by then */
    ax_relays_hurry(&server.relays);
}

/* ---- the script ---- */

static void step(void)
{
    unsigned what = take_byte(&input);
    unsigned how = take_byte(&input);
    struct peer *peer;

    if (peer_count == 0 || what % 16 == 0) {
        add_peer(how);
        return;
    }
    peer = &peers[what / 16 % peer_count];
    switch (what % 16) {
    case 1:
        say_bytes(peer);
        break;
    case 2:
        say_hello(peer);
        break;
    case 3:
        say_proof(peer, how);
        break;
    case 4:
        say_superblock(peer, how);
        break;
    case 5:
        say_again(peer, &peers[how % peer_count].heard);
        break;
    case 6:
        say_again(peer, &peers[how % peer_count].said);
        break;
    case 7:
    case 8:
        log_in(peer, how);
        break;
    case 9:
        settle();
        break;
    case 10:
        end_somehow(peer, how);
        break;
    case 11:
    case 12:
        work(peer, how);
        break;
    case 13:
        pass_time(how < 250 ? how : AX_RELAY_LINGER_MS);
        break;
    case 14:
        reload(how);
        break;
    default:
        if (how % 32 == 31)
            stop(how);
        else
            break_something(how);
    }
}

static void start(unsigned settings)
{
    static const unsigned char secret[] = "correct horse battery staple";

    world_start();
    world.random = model_make_nonce;
    piece = pieces[(settings & PIECES) / 16];
    world.pair_capacity = (settings & SMALL_PAIRS) != 0 ? SMALL_PAIR + take_byte(&input) : WORLD_QUEUE;
    memset(&server, 0, sizeof server);
    server.secret = (struct ax_secret){.crypto = &model_crypto, .size = sizeof secret - 1};
    memcpy(server.secret.bytes, secret, sizeof secret - 1);
    server.old_secret = server.secret;
    server.has_no_timeout = settings & NO_TIMEOUT;
    CHECK(ax_handshakes_init(&server.set, NULL, server.has_no_timeout ? 0 : TIMEOUT_MS,
                             (struct ax_handshake_limits){1 + (settings & LIMIT), 1 + (settings & LIMIT), 1}, on_done,
                             on_failed) == 0);
    CHECK(ax_relays_init(&server.relays, NULL, on_relay_gone, on_relay_ended, NULL) == 0);
    server.set.make_tls = on_tls;
    server.set.secured = on_secured;
    server.set.secret = (settings & SECRET) != 0 ? &server.secret : NULL;
    peer_count = 0;
}

static void talk_to_the_end(void)
{
    size_t heard, before;

    break_something(0);
    evict();
    do {
        heard = before = 0;
        for (size_t i = 0; i < peer_count; i++)
            before += peers[i].worker_heard.size + peers[i].heard.size;
        settle();
        for (size_t i = 0; i < peer_count; i++) {
            model_attend_worker(&peers[i]);
            heard += peers[i].worker_heard.size + peers[i].heard.size;
        }
    } while (heard > before);
}

/* Admitted peers and their workers have received everything from each other. */
static void check_talks(void)
{
    for (size_t i = 0; i < peer_count; i++) {
        const struct peer *peer = &peers[i];
        size_t exchanged = peer->needs_proof ? (size_t)2 * AX_EXCHANGE_SIZE : 0;

        if (peer->outcome != ADMITTED || peer->is_disturbed)
            continue;
        CHECK(peer->read == exchanged + AX_SUPERBLOCK_SIZE);
        CHECK(peer->heard.size == exchanged + peer->worker_said.size);
        CHECK(peer->worker_fd < 0 || peer->worker_heard.size == peer->said.size - peer->read);
    }
}

static void finish(bool peers_go_first)
{
    stop(0);
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < peer_count; i++)
            (peers_go_first == (turn == 0) ? hang_up : worker_hangs_up)(&peers[i]);
        world_run();
    }
    for (size_t i = 0; i < peer_count; i++)
        CHECK(peers[i].outcome >= ADMITTED && peers[i].is_free);
    CHECK(server.relays.count == 0 && server.set.count == 0 && server.set.first == NULL);
    ax_handshakes_fini(&server.set);
    world_run();
    ax_relays_free_memory(&server.relays);
    world_finish();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t blocks = alloc_blocks();
    unsigned settings;

    model_start(data, size);
    input = (struct input){data, size};
    settings = take_byte(&input);
    start(settings);
    while (input.size > 0)
        step();
    talk_to_the_end();
    check_talks();
    finish(settings & PEERS_GO_FIRST);
    CHECK(alloc_blocks() == blocks);
    return 0;
}
