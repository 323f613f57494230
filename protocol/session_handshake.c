/* SPDX-License-Identifier: MIT */
/*
 * The handshake: superblocks negotiate version and features, or reveal that the peer has no across.
 *
 * A bare Python announces itself with a magic of its own. It is sent, in this order: our superblock, the length of the
 * source, the source, and our superblock again, which the bootstrapped peer reads. Then its own superblock follows.
 */
#include <string.h>

#include "protocol/head.h"
#include "protocol/session_private.h"

static struct ax_version own_version(const struct ax_session *session)
{
    return (struct ax_version){0, session->config.minor, 0};
}

int ax_session_send_superblock(struct ax_session *session, uint64_t now)
{
    const struct ax_superblock superblock = {
        .magic = AX_MAGIC,
        .version = own_version(session),
        .level = session->config.features != 0 ? AX_EXTENSION_LEVEL : 0,
        .features = session->config.features,
    };

    return ax_session_queue_superblock(session, &superblock, now);
}

/* An opener has committed itself to a version, and so has an acceptor that has bootstrapped its peer. */
static bool has_sent_superblock(const struct ax_session *session)
{
    return session->config.role == AX_OPENER || session->bootstrapped;
}

static bool is_known(struct ax_version version)
{
    return version.major == 0 && (version.minor == 1 || version.minor == 2);
}

static int compare_versions(struct ax_version a, struct ax_version b)
{
    if (a.major != b.major)
        return a.major - b.major;
    return a.minor != b.minor ? a.minor - b.minor : a.patch - b.patch;
}

/*
 * A peer that has across. An acceptor answers with the peer's version, or with its own if it does not support that, so
 * that both sides can report it.
 */
static void on_peer(struct ax_session *session, const struct ax_superblock *peer, uint64_t now)
{
    struct ax_version remote = peer->version;

    if (!has_sent_superblock(session)) {
        if (is_known(remote))
            session->config.minor = remote.minor;
        if (ax_session_send_superblock(session, now) < 0) {
            ax_session_fail_memory(session);
            return;
        }
    }
    struct ax_version local = own_version(session);
    if (remote.major != local.major || remote.minor != local.minor) {
        ax_session_failf(session, AX_EPROTOCOL, "Local across %u.%u.%u is not compatible with remote %u.%u.%u",
                         local.major, local.minor, local.patch, remote.major, remote.minor, remote.patch);
        return;
    }
    session->peer_version = remote;
    session->features = peer->level > 0 ? session->config.features & peer->features : 0;
    if (ax_session_queue_greeting(session, now) < 0) {
        ax_session_fail_memory(session);
        return;
    }
    session->state = AX_STATE_GREETING;
}

static int send_bootstrap(struct ax_session *session, uint64_t now)
{
    int error = 0;

    if (!has_sent_superblock(session))
        error = ax_session_send_superblock(session, now);
    if (error == 0)
        error = ax_session_queue_bootstrap(session, session->config.bootstrap, now);
    if (error == 0)
        error = ax_session_send_superblock(session, now);
    return error;
}

static void on_bare_python(struct ax_session *session, struct ax_version needed, uint64_t now)
{
    if (session->bootstrapped) {
        ax_session_failf(session, AX_EPROTOCOL, "The peer asks to be bootstrapped a second time");
    } else if (session->config.bootstrap == NULL) {
        ax_session_failf(session, AX_EPROTOCOL, "The peer asks to be bootstrapped, which is not allowed here");
    } else if (compare_versions(needed, own_version(session)) > 0) {
        ax_session_failf(session, AX_EPROTOCOL, "At least across %u.%u.%u is needed to bootstrap connection",
                         needed.major, needed.minor, needed.patch);
    } else if (send_bootstrap(session, now) < 0) {
        ax_session_fail_memory(session);
    } else {
        session->bootstrapped = true;
        session->superblock_size = 0;
    }
}

static bool may_begin_superblock(const unsigned char *bytes, size_t size)
{
    static const uint32_t magics[] = {AX_MAGIC, AX_MAGIC_BOOTSTRAP};

    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        unsigned char magic[4];
        ax_put_u32(magic, magics[i]);
        if (memcmp(bytes, magic, size < sizeof magic ? size : sizeof magic) == 0)
            return true;
    }
    return false;
}

/* Moves bytes that cannot be part of a superblock to the preamble, up to its limit. */
static void skip_preamble(struct ax_session *session)
{
    unsigned char *bytes = session->superblock;
    size_t size = session->superblock_size, skipped = 0;

    while (skipped < size && !may_begin_superblock(bytes + skipped, size - skipped))
        skipped++;
    if (skipped == 0)
        return;
    if (session->preamble.size + skipped > session->config.max_preamble) { /* the error shows the first bytes */
        if (session->preamble.size >= AX_SUPERBLOCK_SIZE)
            memcpy(bytes, session->preamble.data, AX_SUPERBLOCK_SIZE);
        session->superblock_size = AX_SUPERBLOCK_SIZE;
        return;
    }
    if (ax_buffer_append(&session->preamble, bytes, skipped) < 0) {
        ax_session_fail_memory(session);
        return;
    }
    memmove(bytes, bytes + skipped, size - skipped);
    session->superblock_size -= (unsigned)skipped;
}

size_t ax_session_take_superblock(struct ax_session *session, const unsigned char *data, size_t size, uint64_t now)
{
    size_t missing = AX_SUPERBLOCK_SIZE - session->superblock_size;
    size_t used = size < missing ? size : missing;

    memcpy(session->superblock + session->superblock_size, data, used);
    session->superblock_size += (unsigned)used;
    if (session->config.max_preamble > 0)
        skip_preamble(session);
    if (session->superblock_size < AX_SUPERBLOCK_SIZE)
        return used;

    struct ax_superblock peer;
    ax_superblock_decode(&peer, session->superblock);
    if (peer.magic == AX_MAGIC)
        on_peer(session, &peer, now);
    else if (peer.magic == AX_MAGIC_BOOTSTRAP)
        on_bare_python(session, peer.version, now);
    else
        ax_session_failf(session, AX_EPROTOCOL, "Invalid magic: 0x%x", (unsigned)peer.magic);
    return used;
}
