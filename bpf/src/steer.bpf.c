// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Decides for every frame of a port: to the AF_XDP socket of its queue, to the kernel, or nowhere.
 *
 * - To the workers: L2TP data that they forward by themselves, LCP echo, fragments of peers' UDP
 *   datagrams to a tunnel endpoint, which they put together, destinations under a subscriber prefix,
 *   on a core port all transit.
 * - To the kernel: the slow path of L2TP and PPP, each kind behind its own token bucket, and
 *   everything that is not provably ours. Fragments of strangers have a bucket, too. Peers that have
 *   shown that they are where they say have buckets apart from strangers', so that a flood from
 *   forged addresses takes nothing from them.
 * - Dropped: what is over those rates, and L2TP data whose header cannot be read.
 *
 * Addresses of this host come before subscriber prefixes, those before the core mark. TTL, header
 * checksums and lengths that steering does not need are the receiver's business.
 */
#include "maps.h"
#include "parse.h"

#define SYMBOL(symbol, name, text) symbol,
enum reason { STEER_REASONS(SYMBOL, SYMBOL, SYMBOL) REASON_COUNT };
_Static_assert(REASON_COUNT <= COUNTERS_MAX, "more reasons than counters");
_Static_assert((COUNTERS_MAX & (COUNTERS_MAX - 1)) == 0, "the mask below needs a power of two");

/* A step that has not decided. */
#define UNDECIDED REASON_COUNT

/*
 * A bucket that holds what comes in so many nanoseconds is kept by the clock of the last tick: reading
 * the other one costs as much as all the rest. A tick is 10 ms at most, but comes late where a guest
 * has to wait for a core: by far less than this.
 */
#define COARSE_TOLERANCE_NS 100000000ULL

/* How often a bucket is tried while other cores take from it at the same instant. */
#define BUCKET_TRIES 8

/* What is needed of the headers around L2TP, once the destination is a tunnel endpoint. */
struct outer {
	__be16 l2tp_port;
	/* One of them. */
	const struct iphdr *ipv4;
	const struct ipv6hdr *ipv6;
};

/*
 * The generic cell rate algorithm: one word a bucket, the time at which the next packet would
 * arrive at exactly the rate. A packet earlier than that by more than the tolerance is refused.
 */
static __always_inline enum reason take_token(__u64 *arrival_ns, enum bucket bucket,
					      enum reason pass, enum reason drop)
{
	__u64 interval = bucket_interval_ns[bucket];
	__u64 tolerance = bucket_tolerance_ns[bucket];
	__u64 now = tolerance < COARSE_TOLERANCE_NS ? bpf_ktime_get_ns()
						    : bpf_ktime_get_coarse_ns();

	for (int i = 0; i < BUCKET_TRIES; i++) {
		__u64 expected = *(volatile __u64 *)arrival_ns;
		__u64 start = expected > now ? expected : now;

		if (start - now > tolerance)
			return drop;
		if (__sync_val_compare_and_swap(arrival_ns, expected, start + interval) ==
		    expected)
			return pass;
	}
	return drop;
}

/* The bucket of the peer that sent this, or NULL. */
static __always_inline __u64 *peer_of(const struct outer *outer)
{
	struct in6_addr source = {};

	if (outer->ipv6) {
		source = outer->ipv6->saddr;
	} else if (outer->ipv4) {
		source.in6_u.u6_addr32[2] = bpf_htonl(0xffff);
		source.in6_u.u6_addr32[3] = outer->ipv4->saddr;
	}
	return bpf_map_lookup_elem(&peers, &source);
}

/*
 * A kind's bucket of strangers, or that of all peers. New tunnels are limited for each peer alone:
 * who forges the address of one keeps only that one from opening more.
 */
static __always_inline enum reason limit(const struct outer *outer, enum bucket kind,
					 enum reason pass, enum reason drop)
{
	__u64 *peer = peer_of(outer);
	enum bucket bucket = peer ? kind + PEER_BUCKETS : kind;

	if (peer && kind == BUCKET_SETUP)
		return take_token(peer, bucket, pass, drop);
	return take_token(&bucket_arrival_ns[bucket], bucket, pass, drop);
}

/*
 * Workers put fragments together in so many places: who has no tunnel is given none of them. From
 * strangers comes control at most, which the kernel puts together as well.
 */
static __always_inline enum reason steer_fragment(const struct outer *outer)
{
	if (peer_of(outer))
		return XSK_FRAGMENT;
	return take_token(&bucket_arrival_ns[BUCKET_FRAGMENT], BUCKET_FRAGMENT, PASS_FRAGMENT,
			  DROP_RATE_FRAGMENT);
}

/*
 * RFC 2661 section 3.1: L is set on control messages. Without it, or with another version, there
 * is no Tunnel ID to trust, and the strictest bucket applies.
 */
static __always_inline enum reason steer_l2tp_control(const struct cursor *cursor,
						      const struct outer *outer, __u16 flags)
{
	const __be16 *header = peek(cursor, 6);

	if (!header || !(flags & L2TP_LENGTH) || (flags & L2TP_VERSION_MASK) != L2TP_VERSION ||
	    header[2] == 0)
		return limit(outer, BUCKET_SETUP, PASS_L2TP_SETUP, DROP_RATE_SETUP);
	return limit(outer, BUCKET_TUNNEL, PASS_L2TP_TUNNEL, DROP_RATE_TUNNEL);
}

/*
 * Both framings are taken from every peer at any time: address and control field or not
 * (RFC 1661 section 6.6), protocol in one octet or in two (section 6.5).
 */
static __always_inline enum reason steer_ppp(struct cursor *cursor, const struct outer *outer)
{
	const __u8 *octets = peek(cursor, PPP_FRAME_MIN);
	const __u8 *packet;
	__u16 protocol;

	if (!octets)
		return DROP_PPP_SHORT;
	if (octets[0] == PPP_ALL_STATIONS && octets[1] == PPP_UNNUMBERED)
		octets += 2;
	if (octets[0] & 1) {
		protocol = octets[0];
		cursor->position = (void *)octets + 1;
	} else {
		protocol = octets[0] << 8 | octets[1];
		cursor->position = (void *)octets + 2;
	}

	if (protocol == PPP_IPV4)
		return XSK_L2TP_IPV4;
	if (protocol == PPP_IPV6) {
		/* Router solicitations, DHCPv6 and the like are control's; nonsense is the workers'. */
		const struct ipv6hdr *ip = peek(cursor, sizeof(*ip));

		if (!ip || !is_not_routable_ipv6(ip->daddr.in6_u.u6_addr16[0]))
			return XSK_L2TP_IPV6;
	}
	if (protocol == PPP_LCP) {
		packet = peek(cursor, 1);
		if (packet && packet[0] == LCP_ECHO_REQUEST)
			return XSK_LCP_ECHO;
		/* A reply goes to who has sent the request. */
		packet = peek(cursor, 2);
		if (packet && packet[0] == LCP_ECHO_REPLY && (packet[1] & LCP_ECHO_WORKERS))
			return XSK_LCP_ECHO;
	}
	return limit(outer, BUCKET_PPP, PASS_PPP_CONTROL, DROP_RATE_PPP);
}

/* `length`: of the UDP payload, as its header says; the frame may be padded. */
static __always_inline enum reason steer_l2tp(struct cursor *cursor, const struct outer *outer,
					      __s32 length)
{
	const __be16 *field = peek(cursor, 2);
	__u32 skip = 6;
	__u16 flags;

	if (!field || length < 2)
		return DROP_L2TP_SHORT;
	flags = bpf_ntohs(*field);
	if (flags & L2TP_CONTROL)
		return steer_l2tp_control(cursor, outer, flags);
	if ((flags & L2TP_VERSION_MASK) != L2TP_VERSION)
		return DROP_L2TP_VERSION;

	if (flags & L2TP_LENGTH)
		skip += 2;
	if (flags & L2TP_SEQUENCE)
		skip += 4;
	if (!take(cursor, skip))
		return DROP_L2TP_SHORT;
	length -= skip;
	if (flags & L2TP_OFFSET) {
		__u32 offset;

		field = take(cursor, 2);
		if (!field)
			return DROP_L2TP_SHORT;
		offset = bpf_ntohs(*field);
		length -= 2;
		if (length < 0)
			return DROP_L2TP_SHORT;
		if (offset > L2TP_OFFSET_MAX || !take(cursor, offset))
			return DROP_L2TP_OFFSET;
		length -= offset;
		if (length < 0)
			return DROP_L2TP_OFFSET;
	}
	if (length < 0)
		return DROP_L2TP_SHORT;
	if (length < PPP_FRAME_MIN)
		return DROP_PPP_SHORT;
	return steer_ppp(cursor, outer);
}

static __always_inline enum reason steer_udp(struct cursor *cursor, const struct outer *outer)
{
	const struct udphdr *udp = take(cursor, sizeof(*udp));

	if (!udp)
		return PASS_MALFORMED;
	if ((__u16)(bpf_ntohs(udp->dest) - bpf_ntohs(outer->l2tp_port)) >= l2tp_port_count)
		return PASS_HOST;
	return steer_l2tp(cursor, outer, (__s32)bpf_ntohs(udp->len) - (__s32)sizeof(*udp));
}

static __always_inline bool is_subscriber_ipv4(__be32 address)
{
	__u32 block = bpf_ntohl(address) >> 16;
	__u64 *lengths = bpf_map_lookup_elem(&prefix_lengths, &block);
	__u64 left = lengths ? *(volatile __u64 *)lengths : 0;

	for (int i = 0; i < PREFIX_LENGTHS_MAX && left; i++, left >>= 8) {
		__u32 length = ((left & 0xff) - 1) & 63;
		__u32 mask = 0xffffffff00000000ULL >> length;
		struct prefix_ipv4 key = { length, address & bpf_htonl(mask) };

		if (bpf_map_lookup_elem(&subscriber_ipv4, &key))
			return 1;
	}
	return 0;
}

/* A mask of `length` (0 to 32) leading bits, in network order. */
static __always_inline __be32 mask_of(__s32 length)
{
	if (length <= 0)
		return 0;
	if (length >= 32)
		return 0xffffffff;
	return bpf_htonl((__u32)(0xffffffff00000000ULL >> (length & 31)));
}

static __always_inline bool is_subscriber_ipv6(const __be32 address[4])
{
	__u32 block = LENGTHS_IPV6;
	__u64 *lengths = bpf_map_lookup_elem(&prefix_lengths, &block);
	__u64 left = lengths ? *(volatile __u64 *)lengths : 0;

	for (int i = 0; i < PREFIX_LENGTHS_MAX && left; i++, left >>= 8) {
		__s32 length = (left & 0xff) - 1;
		struct prefix_ipv6 key = {
			length,
			{ address[0] & mask_of(length), address[1] & mask_of(length - 32),
			  address[2] & mask_of(length - 64), address[3] & mask_of(length - 96) },
		};

		if (bpf_map_lookup_elem(&subscriber_ipv6, &key))
			return 1;
	}
	return 0;
}

/* Undecided: UDP to a tunnel endpoint, the cursor at the UDP header. */
static __always_inline enum reason steer_ipv4(struct cursor *cursor, struct outer *outer)
{
	const struct iphdr *ip = peek(cursor, sizeof(*ip));
	const __be16 *host;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return PASS_MALFORMED;
	host = bpf_map_lookup_elem(&host_ipv4, &ip->daddr);
	if (!host) {
		if (is_not_unicast_ipv4(ip->daddr))
			return PASS_NOT_UNICAST;
		if (core_port)
			return XSK_CORE;
		return is_subscriber_ipv4(ip->daddr) ? XSK_SUBSCRIBER : PASS_TRANSIT;
	}
	outer->l2tp_port = *host;
	outer->ipv4 = ip;
	if (outer->l2tp_port == 0 || ip->protocol != IPPROTO_UDP)
		return PASS_HOST;
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT))
		return steer_fragment(outer);
	if (!take(cursor, ip->ihl * 4))
		return PASS_MALFORMED;
	return UNDECIDED;
}

/*
 * Past extension headers to UDP. A fragment header is enough to know a fragment, be it the first,
 * a later one, or one that is the whole packet.
 */
static __always_inline enum reason skip_extensions(struct cursor *cursor, const struct outer *outer,
						   __u8 next)
{
	for (int i = 0; i <= EXTENSIONS_MAX; i++) {
		const struct extension *extension;

		if (next == IPPROTO_UDP)
			return UNDECIDED;
		if (next != EXTENSION_HOP_BY_HOP && next != EXTENSION_ROUTING &&
		    next != EXTENSION_DESTINATION && next != EXTENSION_FRAGMENT)
			return PASS_HOST;
		extension = peek(cursor, 8);
		if (!extension)
			return PASS_MALFORMED;
		if (next == EXTENSION_FRAGMENT) {
			if (extension->next != IPPROTO_UDP)
				return PASS_HOST;
			return steer_fragment(outer);
		}
		next = extension->next;
		if (!take(cursor, ((__u32)extension->length + 1) * 8))
			return PASS_MALFORMED;
	}
	return PASS_HOST;
}

/* Undecided: UDP to a tunnel endpoint, the cursor at the UDP header. */
static __always_inline enum reason steer_ipv6(struct cursor *cursor, struct outer *outer)
{
	const struct ipv6hdr *ip = take(cursor, sizeof(*ip));
	const __be16 *host;

	if (!ip || ip->version != 6)
		return PASS_MALFORMED;
	host = bpf_map_lookup_elem(&host_ipv6, &ip->daddr);
	if (!host) {
		if (is_not_routable_ipv6(ip->daddr.in6_u.u6_addr16[0]))
			return PASS_NOT_UNICAST;
		if (core_port)
			return XSK_CORE;
		return is_subscriber_ipv6(ip->daddr.in6_u.u6_addr32) ? XSK_SUBSCRIBER
								     : PASS_TRANSIT;
	}
	outer->l2tp_port = *host;
	outer->ipv6 = ip;
	if (outer->l2tp_port == 0)
		return PASS_HOST;
	return skip_extensions(cursor, outer, ip->nexthdr);
}

static __always_inline enum reason classify(struct xdp_md *context)
{
	struct cursor cursor = {
		.position = (void *)(long)context->data,
		.end = (void *)(long)context->data_end,
	};
	const struct ethhdr *ethernet = take(&cursor, sizeof(*ethernet));
	enum reason reason;
	struct outer outer = {};
	__be16 type;
	__u64 mac;

	if (!ethernet)
		return PASS_MALFORMED;
	if (ethernet->h_dest[0] & 1)
		return PASS_NOT_UNICAST;
	mac = *(const __u64 *)ethernet ^ port_mac;
	if (port_mac && mac & bpf_cpu_to_be64(0xffffffffffff0000ULL))
		return PASS_OTHER_MAC;

	type = ethernet->h_proto;
	for (int i = 0; i < TAGS_MAX && is_tag(type); i++) {
		const struct tag *tag = take(&cursor, sizeof(*tag));

		if (!tag)
			return PASS_MALFORMED;
		type = tag->type;
	}

	if (type == bpf_htons(ETH_P_IP))
		reason = steer_ipv4(&cursor, &outer);
	else if (type == bpf_htons(ETH_P_IPV6))
		reason = steer_ipv6(&cursor, &outer);
	else
		return PASS_NOT_IP;
	return reason == UNDECIDED ? steer_udp(&cursor, &outer) : reason;
}

#define CASE_REDIRECT(symbol, name, text) case symbol: return XDP_REDIRECT;
#define CASE_PASS(symbol, name, text) case symbol: return XDP_PASS;
#define CASE_DROP(symbol, name, text) case symbol: return XDP_DROP;

static __always_inline enum xdp_action action_of(enum reason reason)
{
	switch (reason) {
	STEER_REASONS(CASE_REDIRECT, CASE_PASS, CASE_DROP)
	default: return XDP_PASS;
	}
}

SEC("xdp")
int steer(struct xdp_md *context)
{
	enum reason reason = classify(context);
	enum xdp_action action = action_of(reason);
	struct counters *counted;
	__u32 first = 0;

	if (action == XDP_REDIRECT) {
		action = bpf_redirect_map(&sockets, context->rx_queue_index, XDP_PASS);
		if (action != XDP_REDIRECT)
			reason = PASS_NO_SOCKET;
	}
	counted = bpf_map_lookup_elem(&counters, &first);
	if (counted)
		counted->frames[reason & (COUNTERS_MAX - 1)]++;
	return action;
}

/* The kernel lets only such programs call some of its functions. */
char program_license[] SEC("license") = "Dual BSD/GPL";
