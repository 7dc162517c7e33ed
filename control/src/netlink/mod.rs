//! The kernel's links, addresses, routes and neighbours, by rtnetlink on mio.
//!
//! Two sockets: one hears changes, the other asks, so that answers never crowd out changes and a
//! change never hides among answers. Every start, and every loss of changes (`ENOBUFS`), is
//! followed by a dump of everything, bracketed by [`Event::DumpBegun`] and [`Event::DumpEnded`];
//! the mirror ([`crate::routing`]) removes what the dump no longer named.
//!
//! [`Netlink`] waits for nothing: requests go out, their acknowledgements and errors are matched by
//! sequence number, and [`Netlink::receive`] returns in batches of bounded size. Commands such as
//! `xlns doctor` ask once and wait: [`interface_named`], [`Ethtool`].
//!
//! Decoding takes only the attributes that the mirror needs, by hand: a full routing table is a
//! million messages, and an attribute that a newer kernel adds must not cost us the message.

mod ask;
mod ethtool;
mod event;
mod interface;
mod message;
mod request;
mod socket;
mod uplink;

pub use ethtool::{Channels, Ethtool, Features, HashFields, Spreading};
pub use event::{
    Address, Change, Event, Hop, Link, Neighbor, NeighborState, Origin, Path, Placement, Route,
};
pub use interface::{Interface, interface_at, interface_named};
pub use request::{KernelRequest, ROUTE_PROTOCOL};
pub use socket::Netlink;
pub use uplink::{Rule, Selector, UplinkEntry};
