/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A cursor over the frame and the formats that the kernel's headers do not have. A length is
 * proven by `take` or `peek` before anything is read.
 */
#ifndef XLNS_PARSE_H
#define XLNS_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

typedef _Bool bool;

struct cursor {
	void *position;
	void *end;
};

/* The next `length` octets, or NULL. */
static __always_inline void *peek(const struct cursor *cursor, __u32 length)
{
	return cursor->position + length <= cursor->end ? cursor->position : NULL;
}

/* The next `length` octets, or NULL; moves past them. */
static __always_inline void *take(struct cursor *cursor, __u32 length)
{
	void *taken = peek(cursor, length);

	if (taken)
		cursor->position += length;
	return taken;
}

/* IEEE 802.1Q: what follows the first EtherType of a tagged frame. */
struct tag {
	__be16 control;
	__be16 type;
};

/* A service tag and a customer tag. */
#define TAGS_MAX 2

static __always_inline bool is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* IPv4: the more-fragments flag and the fragment offset. */
#define IPV4_FRAGMENT 0x3fff

/* An IPv6 extension header begins with these two octets. */
struct extension {
	__u8 next;
	__u8 length; /* in units of 8 octets, the first 8 not counted */
};

#define EXTENSION_HOP_BY_HOP 0
#define EXTENSION_ROUTING 43
#define EXTENSION_FRAGMENT 44
#define EXTENSION_DESTINATION 60

/*
 * Extension headers looked past in front of UDP. Tunnels carry none in practice; what hides
 * behind more stays with the kernel.
 */
#define EXTENSIONS_MAX 4

/* RFC 2661 section 3.1. */
#define L2TP_CONTROL 0x8000
#define L2TP_LENGTH 0x4000
#define L2TP_SEQUENCE 0x0800
#define L2TP_OFFSET 0x0200
#define L2TP_VERSION_MASK 0x000f
#define L2TP_VERSION 2

/* Larger than any frame of one buffer, small enough for the verifier to follow. */
#define L2TP_OFFSET_MAX 0x3fff

/* RFC 1661 section 2, RFC 1662 section 3.1. */
#define PPP_ALL_STATIONS 0xff
#define PPP_UNNUMBERED 0x03
#define PPP_IPV4 0x0021
#define PPP_IPV6 0x0057
#define PPP_LCP 0xc021

/* No packet of a protocol that we know fits in less, whatever the framing. */
#define PPP_FRAME_MIN 4

/* RFC 1661 section 5.8. */
#define LCP_ECHO_REQUEST 9
#define LCP_ECHO_REPLY 10

/* Of an Echo-Request's identifier: set in those of workers, clear in those of control. */
#define LCP_ECHO_WORKERS 0x80

/*
 * Destinations that are not forwarded and concern this link or this host: 0/8, 127/8,
 * 169.254/16, 224/4, 240/4 with the limited broadcast address.
 */
static __always_inline bool is_not_unicast_ipv4(__be32 address)
{
	__u32 value = bpf_ntohl(address);
	__u8 first = value >> 24;

	return first >= 224 || first == 0 || first == 127 || value >> 16 == 0xa9fe;
}

/* Link-local fe80::/10 and multicast ff00::/8. `start`: the first two octets. */
static __always_inline bool is_not_routable_ipv6(__be16 start)
{
	return (start & bpf_htons(0xffc0)) == bpf_htons(0xfe80) ||
	       (start & bpf_htons(0xff00)) == bpf_htons(0xff00);
}

#endif
