// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The program that steering is measured against: it looks at nothing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int empty(struct xdp_md *context)
{
	(void)context;
	return XDP_PASS;
}

char program_license[] SEC("license") = "Dual BSD/GPL";
