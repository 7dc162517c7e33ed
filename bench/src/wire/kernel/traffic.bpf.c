// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs of `xlns-bench wire` and `compare`: one makes packets, others count and drop them.
 *
 * The kernel runs `generate` for every frame of a test run with live frames (Linux 5.18). Pages
 * come back with what was in them, headers changed on the way among it, so that each run writes the
 * head of its frame; what lies behind is the same in all frames and never changed.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#define HEAD_BYTES_MAX 128

struct head {
	__u8 octets[HEAD_BYTES_MAX];
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
	__type(value, struct head);
} heads SEC(".maps");

/* What arrived. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct delivered);
} delivered SEC(".maps");

/* Octets of a frame that are written anew. */
const volatile __u32 head_bytes = 0;
/* Number of heads in the map. */
const volatile __u32 frame_count = 0;
/* Where frames leave. */
const volatile __u32 out_ifindex = 0;
/* What arrives is counted where it ends with these octets, in their order. */
const volatile __u32 trailer = 0;

/* The frame whose turn it is, and frames made so far. One generator at a time. */
__u32 next = 0;
__u64 made = 0;

/* The kernel shows frames to the far end in batches of so many. */
#define BATCH 64
/* Late by more batches than this, the generator was kept from its core: it does not make up for it. */
#define LATE_BATCHES_MAX 16
/* Looks at the clock while waiting: some milliseconds. */
#define LOOKS_MAX (1 << 18)

/* Nanoseconds from one batch to the next; 0: as fast as it goes. */
__u64 gap = 0;
/* When the next batch is due. */
__u64 due = 0;

static long is_due(__u32 turn, void *context)
{
	(void)turn;
	(void)context;
	return bpf_ktime_get_ns() >= due;
}

static void wait_for_turn(void)
{
	__u64 now = bpf_ktime_get_ns();

	if (now < due)
		bpf_loop(LOOKS_MAX, is_due, NULL, 0);
	else if (now - due > LATE_BATCHES_MAX * gap)
		due = now;
	due += gap;
}

SEC("xdp")
int generate(struct xdp_md *context)
{
	__u32 key = next;
	struct head *head = bpf_map_lookup_elem(&heads, &key);

	/* Interrupts of the network wait meanwhile, but have been served after the last batch. */
	if (gap && made % BATCH == 0)
		wait_for_turn();
	next = key + 1 < frame_count ? key + 1 : 0;
	made++;
	if (!head || head_bytes == 0 || head_bytes > HEAD_BYTES_MAX)
		return XDP_ABORTED;
	if (bpf_xdp_store_bytes(context, 0, head->octets, head_bytes))
		return XDP_ABORTED;
	return bpf_redirect(out_ifindex, 0);
}

/* Counts and drops the generator's packets, whatever is around them; others pass. */
SEC("tc")
int sink(struct __sk_buff *skb)
{
	__u32 key = 0, end = 0;
	struct delivered *count = bpf_map_lookup_elem(&delivered, &key);

	if (!count)
		return TC_ACT_SHOT;
	if (skb->len < sizeof(end) ||
	    bpf_skb_load_bytes(skb, skb->len - sizeof(end), &end, sizeof(end)) ||
	    end != trailer) {
		count->others++;
		return TC_ACT_OK;
	}
	count->packets++;
	count->octets += skb->len;
	return TC_ACT_SHOT;
}

/* Counts and drops every frame in the driver: what a generator is measured with. */
SEC("xdp")
int drop(struct xdp_md *context)
{
	__u32 key = 0;
	struct delivered *count = bpf_map_lookup_elem(&delivered, &key);

	if (count) {
		count->packets++;
		count->octets += context->data_end - context->data;
	}
	return XDP_DROP;
}

/* Live frames reach a veth only where its end has XDP in the driver: this one does nothing. */
SEC("xdp")
int pass(struct xdp_md *context)
{
	(void)context;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
