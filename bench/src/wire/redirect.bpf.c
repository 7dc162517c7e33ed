// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs of `xlns-bench wire`: test packets go to the tester's socket, the rest (L2TP control, LCP,
 * ARP and all else) to the kernel.
 *
 * On the access side test packets are what the LNS sends in L2TP data messages that carry IPv4: no
 * subscriber here has anything else to receive. At the core they are UDP to the tester's port.
 */
#include "../../../bpf/src/parse.h"

#include <linux/pkt_cls.h>

/* Queues of an interface that have a socket, at most. */
#define QUEUES_MAX 64

struct arrived {
	__u64 packets;
	__u64 octets;
};

/* The socket of each queue. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* What `drop` dropped, and what `redirect` did: packets that only fill the LNS. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct arrived);
} dropped SEC(".maps");

/* Whose L2TP this is; 0: not the access side. */
const volatile __be32 lns = 0;
/* The UDP port of test packets at the core. */
const volatile __be16 core_port = 0;
/* The UDP port that packets go to which only fill the LNS, on either side. */
const volatile __be16 filler_port = 0;

/* What a frame is. */
enum kind { OTHER, TEST, FILLER };

/* Moves to the IPv4 packet that a data message carries, in any framing; 0 where it carries none. */
static __always_inline bool take_l2tp(struct cursor *cursor)
{
	const __be16 *field = peek(cursor, 2);
	const __u8 *octets;
	__u32 skip = 6;
	__u16 flags;

	if (!field)
		return 0;
	flags = bpf_ntohs(*field);
	if ((flags & L2TP_CONTROL) || (flags & L2TP_VERSION_MASK) != L2TP_VERSION)
		return 0;
	if (flags & L2TP_LENGTH)
		skip += 2;
	if (flags & L2TP_SEQUENCE)
		skip += 4;
	if (!take(cursor, skip))
		return 0;
	if (flags & L2TP_OFFSET) {
		__u32 offset;

		field = take(cursor, 2);
		if (!field)
			return 0;
		offset = bpf_ntohs(*field);
		if (offset > L2TP_OFFSET_MAX || !take(cursor, offset))
			return 0;
	}
	octets = peek(cursor, 2);
	if (octets && octets[0] == PPP_ALL_STATIONS && octets[1] == PPP_UNNUMBERED)
		take(cursor, 2);
	octets = peek(cursor, 2);
	if (!octets)
		return 0;
	if (octets[0] == PPP_IPV4)
		return take(cursor, 1) != NULL;
	return octets[0] == 0 && octets[1] == PPP_IPV4 && take(cursor, 2);
}

/* Moves past an IPv4 header in front of UDP, whole. */
static __always_inline const struct iphdr *take_ipv4(struct cursor *cursor)
{
	const struct iphdr *ip = peek(cursor, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_UDP ||
	    (ip->frag_off & bpf_htons(IPV4_FRAGMENT)) || !take(cursor, ip->ihl * 4))
		return NULL;
	return ip;
}

static __always_inline enum kind kind_of(void *data, void *end)
{
	struct cursor cursor = { .position = data, .end = end };
	const struct ethhdr *ethernet = take(&cursor, sizeof(*ethernet));
	const struct iphdr *ip;
	const struct udphdr *udp;
	__be16 type;

	if (!ethernet)
		return OTHER;
	type = ethernet->h_proto;
	for (int i = 0; i < TAGS_MAX && is_tag(type); i++) {
		const struct tag *tag = take(&cursor, sizeof(*tag));

		if (!tag)
			return OTHER;
		type = tag->type;
	}
	if (type != bpf_htons(ETH_P_IP))
		return OTHER;
	ip = take_ipv4(&cursor);
	udp = ip ? take(&cursor, sizeof(*udp)) : NULL;
	if (!udp)
		return OTHER;
	if (lns) {
		if (ip->saddr != lns || !take_l2tp(&cursor))
			return OTHER;
		/* Spoilt on its way, it may not look like UDP any more. */
		ip = take_ipv4(&cursor);
		udp = ip ? take(&cursor, sizeof(*udp)) : NULL;
		return udp && udp->dest == filler_port ? FILLER : TEST;
	}
	if (udp->dest == core_port)
		return TEST;
	return udp->dest == filler_port ? FILLER : OTHER;
}

static __always_inline void count(struct xdp_md *context)
{
	__u32 key = 0;
	struct arrived *count = bpf_map_lookup_elem(&dropped, &key);

	if (count) {
		count->packets++;
		count->octets += context->data_end - context->data;
	}
}

/* Test packets to the socket of their queue. */
SEC("xdp")
int redirect(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	switch (kind_of(data, end)) {
	case TEST:
		return bpf_redirect_map(&sockets, context->rx_queue_index, XDP_PASS);
	case FILLER:
		count(context);
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
}

/* Beside a packet socket, which has seen them by now: the kernel does not answer test packets. */
SEC("tc")
int shield(struct __sk_buff *skb)
{
	/* Headers up to the PPP protocol, whatever options there are. */
	__u32 wanted = skb->len < 128 ? skb->len : 128;

	if (bpf_skb_pull_data(skb, wanted))
		return TC_ACT_OK;
	return kind_of((void *)(long)skb->data, (void *)(long)skb->data_end) == OTHER ? TC_ACT_OK
										       : TC_ACT_SHOT;
}

/* Counts and drops every frame in the driver: what the sender is measured with. */
SEC("xdp")
int drop(struct xdp_md *context)
{
	count(context);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
