//! What all tests stand on: one lab, one guest, and what is asked of every run.

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use xlns_tests::peer::{Dialer, Login, Session, Tunnel};
use xlns_tests::topology::{LNS_ADDRESS, Topology};
use xlns_tests::uml::Guest;
use xlns_tests::xlns::{Settings, Xlns};
use xlns_tests::{Lab, Result, deadline};

/// How long something may take that takes a second on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What is made once. Dropped in this order, where it is dropped at all.
pub struct Stage {
    pub guest: Guest,
    pub topology: Topology,
    pub lab: Lab,
}

/// The stage, for one test at a time; a test that failed leaves it usable.
pub fn stage() -> MutexGuard<'static, Stage> {
    static STAGE: OnceLock<Mutex<Stage>> = OnceLock::new();
    let build = || {
        let lab = Lab::start("privileged")?;
        let topology = Topology::build(&lab)?;
        let guest = Guest::boot(&lab, "guest", &topology.lac, &topology.lac_network())?;
        Ok(Mutex::new(Stage { guest, topology, lab }))
    };
    let built = STAGE.get_or_init(|| {
        build().unwrap_or_else(|error: xlns_tests::LabError| {
            panic!("the lab cannot be built: {error}")
        })
    });
    built.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    pub fn xlns(&self, name: &str, settings: &Settings) -> Result<Xlns<'_>> {
        Xlns::start(&self.lab, &self.topology.lns, name, settings)
    }

    pub fn dialer(&self, logins: &[Login]) -> Result<Dialer<'_>> {
        let secret = Settings::default().secret;
        let tunnel = Tunnel { lns: LNS_ADDRESS, secret, challenge: true };
        Dialer::start(&self.guest, &tunnel, logins)
    }
}

pub fn alice() -> Login {
    Login::chap("alice", "alice-password")
}

pub fn bob() -> Login {
    Login::chap("bob", "bob-password")
}

/// Three answers to three pings.
#[track_caller]
pub fn assert_reaches(xlns: &Xlns<'_>, session: &Session<'_>, destination: Ipv4Addr) {
    let counts = session.ping(destination, 3).unwrap();
    let told = || {
        let show = |what: &str| xlns.command(&["show", what]).unwrap_or_default();
        format!("{}{}{}", show("counters"), show("ports"), show("workers"))
    };
    let from = session.address;
    assert_eq!(counts, (3, 3), "{from} to {destination}\n{}{}", session.log().text(), told());
}

/// Sessions that the workers forward for.
fn is_open(row: &Value) -> bool {
    row["state"] == "open"
}

pub fn wait_open(xlns: &Xlns<'_>, count: usize) -> Vec<Value> {
    let all_open = |rows: &[Value]| rows.len() == count && rows.iter().all(is_open);
    xlns.wait_rows("sessions", PATIENCE, all_open).unwrap()
}

pub fn wait_none(xlns: &Xlns<'_>, what: &str, wait: Duration) {
    xlns.wait_rows(what, wait, <[Value]>::is_empty).unwrap();
}

/// Nobody has given up, and no frame was lost count of.
#[track_caller]
pub fn assert_sound(xlns: &mut Xlns<'_>) {
    assert_eq!(xlns.ended(), None);
    let exact = deadline::poll(PATIENCE, || {
        let totals = xlns.totals().ok()?;
        totals.is_sum().then_some(totals)
    });
    let totals = exact.unwrap_or_else(|| panic!("received is not the sum: {:?}", xlns.totals()));
    assert!(totals.received > 0, "no worker saw a frame");
    let drops = xlns.show("counters").unwrap();
    let reasons: u64 = drops
        .iter()
        .filter(|row| row["group"] == "drop")
        .filter_map(|row| row["value"].as_u64())
        .sum();
    assert!(reasons >= totals.dropped, "{reasons} reasons for {} drops", totals.dropped);
}
