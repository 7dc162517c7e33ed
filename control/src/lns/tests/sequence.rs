//! Sequence numbers on data, and what else profiles and users ask of the data plane.

use xlns_dataplane::api::{Policer, SequenceNumbers, SessionOptions};

use super::*;

impl Lab {
    /// Places a call of a LAC that wants sequence numbers, or not, and brings it up.
    fn up_with(&mut self, sequencing_required: bool) -> SessionId {
        self.control(SessionId(0), &icrq(5));
        let Some((_, Message::Icrp(icrp))) = self.messages.pop() else { panic!("no ICRP") };
        let session = icrp.assigned_session_id;
        let Message::Iccn(mut iccn) = iccn() else { unreachable!() };
        iccn.sequencing_required = sequencing_required;
        self.control(session, &Message::Iccn(iccn));
        self.negotiate(session, "alice", "wonder");
        self.address(session);
        session
    }

    fn options(&self) -> SessionOptions {
        self.last_set().options
    }
}

#[test]
fn where_the_lac_requires_numbers_all_data_has_them_in_one_row() {
    let mut lab = Lab::new("");
    lab.open();
    lab.up_with(true);
    assert_eq!(lab.options().sequence, SequenceNumbers::Always);
    // Ours until the data plane knows the session, then all by way of it.
    let own: Vec<_> = (0..lab.numbers.len() as u16).map(Some).collect();
    assert_eq!(lab.numbers, own);
    assert!(!own.is_empty() && lab.injected > 0);
    let first = lab.commands.iter().find_map(|command| match command {
        Command::SessionSet(session) => Some(session.options.first_ns),
        _ => None,
    });
    assert_eq!(first, Some(own.len() as u16));
    // Away, it numbers nothing.
    lab.lns.handle_dataplane_away(lab.now);
    let injected = lab.injected;
    let session = lab.last_set().key.local_session_id;
    lab.frame(SessionId(session), &[0xff, 3, 0xc0, 0x21, 1, 9, 0, 4]);
    assert_eq!(lab.injected, injected);
    assert_eq!(lab.numbers.last(), Some(&Some(lab.numbers.len() as u16 - 1)));
}

#[test]
fn without_there_are_none() {
    let mut lab = Lab::new("");
    lab.open();
    lab.up_with(false);
    assert_eq!(lab.options(), SessionOptions { quality: true, ..SessionOptions::default() });
    assert!(lab.numbers.iter().all(Option::is_none));
    assert_eq!(lab.injected, 0);
}

#[test]
fn a_profile_may_want_them_always() {
    let mut lab = Lab::new("[[lac]]\nname = \"a\"\nsequencing = \"always\"\ndrop_late = false\n");
    lab.open();
    lab.up_with(false);
    let options = lab.options();
    assert_eq!((options.sequence, options.drop_late), (SequenceNumbers::Always, false));
    assert!(lab.numbers.iter().all(Option::is_some));
}

#[test]
fn a_users_rates_reach_the_data_plane() {
    let user = "[[user]]\nname = \"fast\"\npassword = \"p\"\nrate_up = 1000\nrate_down = 40000\n";
    let mut lab = Lab::new(user);
    lab.open();
    lab.up(5, "fast", "p");
    let policer =
        |rate_bits_per_second, burst_bytes| Some(Policer { rate_bits_per_second, burst_bytes });
    let options = lab.options();
    assert_eq!(options.police_upstream, policer(1_000_000, 15_000));
    assert_eq!(options.police_downstream, policer(40_000_000, 500_000));
}
