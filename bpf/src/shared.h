/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the steering program and its loader must agree on: the list of reasons and the sizes of
 * the maps. build.rs reads this file and makes the Rust side of it, so there is one list.
 *
 * Every frame ends in exactly one reason, which decides its way and counts it:
 * frames seen = sum of all counters.
 */
#ifndef XLNS_SHARED_H
#define XLNS_SHARED_H

/* WAY(SYMBOL, "counter_name", "Sentence for operators.") */
#define STEER_REASONS(TO_WORKERS, TO_KERNEL, DROP) \
	TO_WORKERS(XSK_L2TP_IPV4, "xsk_l2tp_ipv4", "L2TP data that carries IPv4.") \
	TO_WORKERS(XSK_L2TP_IPV6, "xsk_l2tp_ipv6", \
		"L2TP data that carries IPv6 to a routable destination.") \
	TO_WORKERS(XSK_LCP_ECHO, "xsk_lcp_echo", \
		"LCP Echo-Request of a session, or the reply to one of the workers.") \
	TO_WORKERS(XSK_FRAGMENT, "xsk_fragment", \
		"Fragment of a UDP datagram of a peer to a tunnel endpoint.") \
	TO_WORKERS(XSK_SUBSCRIBER, "xsk_subscriber", \
		"The destination is under a subscriber prefix.") \
	TO_WORKERS(XSK_CORE, "xsk_core", "Transit on a port marked core.") \
	TO_KERNEL(PASS_NOT_IP, "pass_not_ip", \
		"Neither IPv4 nor IPv6 behind at most two 802.1Q tags; ARP among it.") \
	TO_KERNEL(PASS_MALFORMED, "pass_malformed", \
		"Ends inside an Ethernet, IP or UDP header, or the IP header is nonsense.") \
	TO_KERNEL(PASS_OTHER_MAC, "pass_other_mac", \
		"Unicast to a MAC address that is not the port's.") \
	TO_KERNEL(PASS_NOT_UNICAST, "pass_not_unicast", \
		"Ethernet or IP multicast or broadcast, or a link-local or loopback destination.") \
	TO_KERNEL(PASS_HOST, "pass_host", "To an address of this host, and not L2TP.") \
	TO_KERNEL(PASS_L2TP_SETUP, "pass_l2tp_setup", \
		"L2TP control with Tunnel ID 0, or without a readable one.") \
	TO_KERNEL(PASS_L2TP_TUNNEL, "pass_l2tp_tunnel", \
		"L2TP control of a tunnel that has an ID.") \
	TO_KERNEL(PASS_PPP_CONTROL, "pass_ppp_control", \
		"PPP control of a session, and IPv6 to link-local or multicast.") \
	TO_KERNEL(PASS_FRAGMENT, "pass_fragment", \
		"Fragment of a UDP datagram of a stranger to a tunnel endpoint.") \
	TO_KERNEL(PASS_TRANSIT, "pass_transit", \
		"Neither for this host nor for a subscriber, on a port that is not core.") \
	TO_KERNEL(PASS_NO_SOCKET, "pass_no_socket", \
		"Meant for the workers, but no socket is bound to the queue.") \
	DROP(DROP_RATE_SETUP, "drop_rate_setup", \
		"Over the rate of L2TP control with Tunnel ID 0.") \
	DROP(DROP_RATE_TUNNEL, "drop_rate_tunnel", "Over the rate of L2TP control of tunnels.") \
	DROP(DROP_RATE_PPP, "drop_rate_ppp", "Over the rate of PPP control.") \
	DROP(DROP_RATE_FRAGMENT, "drop_rate_fragment", \
		"Over the rate of strangers' fragments to a tunnel endpoint.") \
	DROP(DROP_L2TP_SHORT, "drop_l2tp_short", "The datagram ends inside the L2TP header.") \
	DROP(DROP_L2TP_VERSION, "drop_l2tp_version", "L2TP data of a version other than 2.") \
	DROP(DROP_L2TP_OFFSET, "drop_l2tp_offset", "The L2TP offset leads outside the datagram.") \
	DROP(DROP_PPP_SHORT, "drop_ppp_short", \
		"The PPP frame is shorter than any packet it could carry.")

/* Room for counters; a power of two, so that an index is proven by a mask. */
#define COUNTERS_MAX 32

/* Addresses of this host, per family; the data plane's own limit is for both together. */
#define HOST_ADDRESSES_MAX 4096

/* Addresses that tunnels have been established from, both families together. */
#define PEERS_MAX 65536

/* Subscriber prefixes, per family. */
#define SUBSCRIBER_PREFIXES_MAX 1024

/* Distinct lengths of subscriber prefixes, per family: one hash look-up each, packed in 64 bits. */
#define PREFIX_LENGTHS_MAX 8

#endif
