//! Calls and the data plane: what it is told, when it is away, what it counted last.

use super::*;

#[test]
fn an_address_is_free_only_after_the_last_packet_was_counted() {
    let mut lab = Lab::new("");
    lab.open();
    let free = lab.free();
    let (session, _) = lab.up(5, "alice", "wonder");
    assert_eq!(lab.free(), free - 1);
    let result = ResultCode::call(CallResult::LossOfCarrier, None, "");
    let cdn =
        Cdn { result, assigned_session_id: Some(SessionId(5)), q931_cause: None, ppp_cause: None };
    lab.control(session, &Message::Cdn(Box::new(cdn)));
    assert!(lab.commands.contains(&Command::SessionRemove(lab.key(session))));
    assert_eq!((lab.free(), lab.lns.calls.len()), (free - 1, 0));
    let counters = SessionCounters { upstream_packets: 3, ..SessionCounters::default() };
    lab.lns.handle_session_ended(lab.now, lab.key(session), counters);
    assert_eq!(lab.free(), free);
    assert_eq!(lab.lns.ended_totals.upstream_packets, 3);
}

#[test]
fn without_a_data_plane_addresses_do_not_wait_for_it() {
    let mut lab = Lab::new("");
    lab.lns.handle_dataplane_away(lab.now);
    lab.open();
    let free = lab.free();
    let (session, _) = lab.up(5, "alice", "wonder");
    assert!(lab.commands.is_empty());
    assert_eq!(lab.lns.clear_sessions(lab.now, &SessionSelector::User("alice".into())), 1);
    lab.drain();
    let mut terminate = lab.take_frame([0xc0, 0x21], 5);
    terminate[4] = 6;
    lab.frame(session, &terminate);
    assert_eq!((lab.free(), lab.lns.calls.len()), (free, 0));
}

#[test]
fn a_resynchronisation_names_what_is_up_and_frees_what_ended() {
    let mut lab = Lab::new("");
    lab.open();
    let free = lab.free();
    let (gone, _) = lab.up(5, "alice", "wonder");
    let (stays, _) = lab.up(6, "bob", "builder");
    let wanted = SessionSelector::Id { tunnel_id: lab.lns_tunnel.0, session_id: gone.0 };
    assert_eq!(lab.lns.clear_sessions(lab.now, &wanted), 1);
    lab.drain();
    let mut terminate = lab.take_frame([0xc0, 0x21], 5);
    terminate[4] = 6;
    lab.frame(gone, &terminate);
    assert_eq!(lab.free(), free - 1, "held until the data plane answers");
    lab.lns.handle_dataplane_away(lab.now);
    lab.lns.handle_dataplane_ready();
    let mut named = Vec::new();
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        cursor = lab.lns.resync_page(from, 1, |command| named.push(command));
    }
    let [Command::SessionSet(session)] = named.as_slice() else { panic!("{named:?}") };
    assert_eq!(session.key, lab.key(stays));
    lab.lns.handle_synchronised(lab.now);
    assert_eq!(lab.free(), free);
}

#[test]
fn a_session_that_the_data_plane_refuses_is_disconnected() {
    let mut lab = Lab::new("");
    lab.open();
    let free = lab.free();
    lab.up(5, "alice", "wonder");
    let set = Command::SessionSet(Box::new(lab.last_set().clone()));
    let error = CommandError::Full { table: "session".into(), key: "l2tp.sessions_max".into() };
    lab.lns.handle_refused(lab.now, &set, &error);
    lab.drain();
    let Some((_, Message::Cdn(cdn))) = lab.messages.pop() else { panic!("no CDN") };
    assert_eq!(cdn.result.error, Some(ErrorCode::TryAnother));
    assert_eq!(lab.lns.calls.len(), 0);
    // It never had the session, so it says so where it is told to remove it, and no more.
    let remove = lab.commands.pop().expect("SessionRemove");
    assert!(matches!(remove, Command::SessionRemove(_)));
    lab.lns.handle_refused(lab.now, &remove, &CommandError::NoSuchEntry);
    assert_eq!((lab.free(), lab.lns.ending.len()), (free, 0));
}

#[test]
fn packets_of_sessions_that_a_resynchronisation_removed_are_counted() {
    let mut lab = Lab::new("");
    let key = SessionKey { local_tunnel_id: 1, local_session_id: 2 };
    let counters = SessionCounters { downstream_bytes: 7, ..SessionCounters::default() };
    lab.lns.handle_session_ended(lab.now, key, counters);
    assert_eq!(lab.lns.ended_totals.downstream_bytes, 7);
}

#[test]
fn a_session_that_the_data_plane_never_had_holds_no_address() {
    let mut lab = Lab::new("");
    lab.open();
    let free = lab.free();
    let (session, _) = lab.up(5, "alice", "wonder");
    let set = Command::SessionSet(Box::new(lab.last_set().clone()));
    let error = CommandError::Full { table: "session".into(), key: "l2tp.sessions_max".into() };
    lab.lns.handle_refused(lab.now, &set, &error);
    lab.drain();
    let remove = Command::SessionRemove(lab.key(session));
    assert_eq!(lab.commands.last(), Some(&remove));
    assert_eq!((lab.free(), lab.lns.audit().unwrap().ending), (free - 1, 1));
    // No final counters come: the removal is refused as well.
    lab.lns.handle_refused(lab.now, &remove, &CommandError::NoSuchEntry);
    assert_eq!((lab.free(), lab.lns.audit().unwrap().ending), (free, 0));
}
