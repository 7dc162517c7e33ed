// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Two programs of `xlns-bench wire`: one makes packets, one counts and drops them.
 *
 * The kernel runs `generate` for every frame of a test run with live frames (Linux 5.18). Pages
 * come back with what was in them, so that each run writes its frame as a whole.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FRAME_BYTES_MAX 128

struct frame {
	__u8 octets[FRAME_BYTES_MAX];
};

struct delivered {
	__u64 packets;
	__u64 octets;
	__u64 others;
};

/* What to send, in turn; the loader sets the number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct frame);
} frames SEC(".maps");

/* What arrived. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct delivered);
} delivered SEC(".maps");

/* Octets of every frame. */
const volatile __u32 frame_bytes = 0;
/* Number of frames in the map. */
const volatile __u32 frame_count = 0;
/* Where they leave. */
const volatile __u32 out_ifindex = 0;
/* What arrives is counted where it goes to this IPv4 address, in network order. */
const volatile __u32 destination = 0;

/* The frame whose turn it is. One generator at a time. */
__u32 next = 0;

SEC("xdp")
int generate(struct xdp_md *context)
{
	__u32 key = next;
	struct frame *frame = bpf_map_lookup_elem(&frames, &key);

	next = key + 1 < frame_count ? key + 1 : 0;
	if (!frame || frame_bytes == 0 || frame_bytes > FRAME_BYTES_MAX)
		return XDP_ABORTED;
	if (bpf_xdp_store_bytes(context, 0, frame->octets, frame_bytes))
		return XDP_ABORTED;
	return bpf_redirect(out_ifindex, 0);
}

SEC("tc")
int sink(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	__u32 key = 0;
	struct delivered *count = bpf_map_lookup_elem(&delivered, &key);

	if (!count)
		return TC_ACT_SHOT;
	if ((void *)(ip + 1) > data_end || ethernet->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->daddr != destination) {
		count->others++;
		return TC_ACT_SHOT;
	}
	count->packets++;
	count->octets += skb->len;
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
