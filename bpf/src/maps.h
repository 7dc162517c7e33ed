/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Maps, constants and variables. Those marked "shared" are one for all ports: the loader makes
 * them once and gives them to each port's instance. The rest belong to one port.
 */
#ifndef XLNS_MAPS_H
#define XLNS_MAPS_H

#include <linux/bpf.h>
#include <linux/in6.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

/* Shared: addresses of this host. Value: the UDP port of L2TP where tunnels end, else 0. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HOST_ADDRESSES_MAX);
	__type(key, __be32);
	__type(value, __be16);
} host_ipv4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HOST_ADDRESSES_MAX);
	__type(key, struct in6_addr);
	__type(value, __be16);
} host_ipv6 SEC(".maps");

struct prefix_ipv4 {
	__u32 length;
	__be32 address;
};

struct prefix_ipv6 {
	__u32 length;
	__be32 address[4];
};

/*
 * Shared: subscriber prefixes; the value says nothing. The kernel's own prefix trie would take
 * longer than the whole program.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SUBSCRIBER_PREFIXES_MAX);
	__type(key, struct prefix_ipv4);
	__type(value, __u8);
} subscriber_ipv4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SUBSCRIBER_PREFIXES_MAX);
	__type(key, struct prefix_ipv6);
	__type(value, __u8);
} subscriber_ipv6 SEC(".maps");

/* Blocks of IPv4 addresses that share their first 16 bits; and the one of all IPv6 addresses. */
#define LENGTHS_BLOCKS_IPV4 65536
#define LENGTHS_IPV6 LENGTHS_BLOCKS_IPV4

/*
 * Shared: for each block the lengths of the prefixes that overlap it, so that few have to be tried:
 * one 64-bit word, eight octets of length + 1, the used ones lowest, 0 ends. One word, so that it
 * changes at once.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LENGTHS_BLOCKS_IPV4 + 1);
	__type(key, __u32);
	__type(value, __u64);
} prefix_lengths SEC(".maps");

/*
 * Shared: addresses that tunnels have been established from, IPv4 as ::ffff:a.b.c.d. Value: the
 * bucket of the address for new tunnels, as in `bucket_arrival_ns`.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PEERS_MAX);
	__type(key, struct in6_addr);
	__type(value, __u64);
} peers SEC(".maps");

/* AF_XDP sockets by receive queue; the loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct counters {
	__u64 frames[COUNTERS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* UDP ports of L2TP, from that of the host address on. */
const volatile __u16 l2tp_port_count = 1;

/* Whether transit traffic of this port goes to the workers. */
const volatile __u8 core_port = 0;

/*
 * Strangers' buckets, and behind them those of peers in the same order. The one of PEER_BUCKETS +
 * BUCKET_SETUP is not used: each peer has its own, in the map of peers.
 */
enum bucket {
	BUCKET_SETUP,
	BUCKET_TUNNEL,
	BUCKET_PPP,
	BUCKET_FRAGMENT,
	PEER_BUCKETS,
	BUCKET_COUNT = 2 * PEER_BUCKETS
};

/* Time between packets of a bucket at its rate, and how far a burst may run ahead of it. */
const volatile __u64 bucket_interval_ns[BUCKET_COUNT] = {};
const volatile __u64 bucket_tolerance_ns[BUCKET_COUNT] = {};

/* The theoretical arrival time of a bucket's next packet. */
__u64 bucket_arrival_ns[BUCKET_COUNT] = {};

/* The port's MAC address in the first six octets, as in a frame; 0: not known, any will do. */
__u64 port_mac = 0;

#endif
