//! Does the source address belong to the session (BCP 38).

use super::classify::Address;
use crate::tables::{Decap, Entry, Guard};

/// Whether the subscriber may send from this address: it is the only one that the session has, or
/// packets to it would go to the same session, which covers framed prefixes.
#[inline(always)]
pub(super) fn is_source_of(guard: &Guard<'_>, session: &Decap, source: Address) -> bool {
    if source == Address::V4(session.inner_ipv4) && session.inner_ipv4 != [0; 4] {
        return true;
    }
    match source.route(guard) {
        // The index, not the slot: a session that is being changed has two slots for a moment.
        Entry::Session(slot) => guard.decap(slot).index == session.index,
        _ => false,
    }
}
