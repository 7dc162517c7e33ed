// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Passes every frame: what a program costs before it does anything. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int empty(struct xdp_md *context)
{
	(void)context;
	return XDP_PASS;
}

char program_license[] SEC("license") = "Dual BSD/GPL";
