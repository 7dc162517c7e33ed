//! What users get of which pool, and that everything comes back.

use super::*;
use crate::config::Config;
use crate::users::Users;

const CONFIG: &str = r#"
[lns]
listen = ["192.0.2.1"]
gateway = "10.0.0.1"
[[port]]
interface = "eth0"
[[pool]]
name = "p"
prefixes = ["10.0.0.0/29"]
ipv6_prefixes = ["2001:db8::/62"]
delegated_prefixes = ["2001:db8:8000::/47"]
delegated_length = 48
[[user]]
name = "of-pool"
password = "p"
[[user]]
name = "fixed"
password = "p"
address = "10.0.0.4"
ipv6_prefix = "2001:db8:0:2::/64"
framed_routes = ["10.1.0.0/24"]
[[user]]
name = "routes"
password = "p"
framed_routes = ["10.2.0.0/24"]
"#;

struct Lab {
    addresses: Addresses,
    users: Users,
}

impl Lab {
    fn new(more: &str) -> Self {
        let config = Config::parse("x.toml", &format!("{CONFIG}{more}")).unwrap();
        Self { addresses: Addresses::new(&config).unwrap(), users: Users::new(&config.user) }
    }

    fn lease(&mut self, user: &str) -> Result<Lease, NoLease> {
        self.addresses.lease(self.users.account(user).unwrap())
    }
}

fn shown(lease: &Lease) -> Vec<String> {
    lease.all().map(|prefix| prefix.to_string()).collect()
}

#[test]
fn everything_of_a_pool_comes_and_goes() {
    let mut lab = Lab::new("");
    assert_eq!((lab.addresses.free(), lab.addresses.free_prefixes()), (4, (3, 2)));
    let mut lease = lab.lease("of-pool").unwrap();
    assert_eq!(shown(&lease), ["10.0.0.2/32", "2001:db8::/64"]);
    assert_eq!(lab.addresses.free_prefixes(), (2, 2), "nothing delegated yet");
    let delegated = lab.addresses.delegate(&mut lease);
    assert_eq!(delegated, Some("2001:db8:8000::/48".parse().unwrap()));
    assert_eq!(lab.addresses.delegate(&mut lease), delegated, "always the same");
    assert_eq!(lab.addresses.in_use(), 3);
    let mut second = lab.lease("of-pool").unwrap();
    let third = lab.lease("of-pool").unwrap();
    assert!(lab.addresses.delegate(&mut second).is_some());
    assert_eq!(shown(&third)[1], "2001:db8:0:3::/64", "the fixed one in between is left out");
    let mut fourth = lab.lease("of-pool").unwrap();
    assert!(!fourth.has_ipv6(), "no /64 is left");
    assert_eq!(lab.addresses.delegate(&mut fourth), None);
    assert_eq!(lab.lease("of-pool"), Err(NoLease::Exhausted));
    for lease in [lease, second, third, fourth] {
        lab.addresses.release(lease);
    }
    assert_eq!((lab.addresses.free(), lab.addresses.free_prefixes()), (4, (3, 2)));
    assert_eq!(lab.addresses.in_use(), 0);
}

#[test]
fn what_is_fixed_is_taken_by_one_at_a_time() {
    let mut lab = Lab::new("");
    let mut lease = lab.lease("fixed").unwrap();
    assert_eq!(shown(&lease), ["10.0.0.4/32", "2001:db8:0:2::/64", "10.1.0.0/24"]);
    assert_eq!(lab.lease("fixed"), Err(NoLease::InUse));
    assert!(lab.addresses.delegate(&mut lease).is_some(), "what is not fixed is of the pool");
    assert_eq!(lab.addresses.in_use(), 4);
    lab.addresses.release(lease);
    assert_eq!(lab.addresses.in_use(), 0);
    let again = lab.lease("fixed").unwrap();
    let routes = lab.lease("routes").unwrap();
    assert_eq!(shown(&routes), ["10.0.0.2/32", "2001:db8::/64", "10.2.0.0/24"]);
    assert_eq!(lab.lease("routes"), Err(NoLease::InUse));
    lab.addresses.release(again);
    lab.addresses.release(routes);
    assert_eq!(lab.addresses.in_use(), 0);
}

#[test]
fn without_ipv6_nothing_of_it_is_taken() {
    let mut lab = Lab::new("[ppp]\nipv6 = false\n");
    let mut lease = lab.lease("fixed").unwrap();
    assert_eq!(shown(&lease), ["10.0.0.4/32", "10.1.0.0/24"]);
    assert_eq!(lab.addresses.delegate(&mut lease), None);
    lab.addresses.release(lease);
    let again = lab.lease("fixed").unwrap();
    lab.addresses.release(again);
    assert_eq!(lab.addresses.in_use(), 0);
}

#[test]
fn an_address_is_known_while_it_is_somebodys() {
    let mut lab = Lab::new("");
    let (pool, fixed) = ([10, 0, 0, 2].into(), [10, 0, 0, 4].into());
    let known = |lab: &Lab| (lab.addresses.is_leased(pool), lab.addresses.is_leased(fixed));
    assert_eq!(known(&lab), (false, false), "reserved is not leased");
    assert!(!lab.addresses.is_leased([10, 0, 0, 1].into()), "the gateway");
    let first = lab.lease("of-pool").unwrap();
    assert_eq!(known(&lab), (true, false));
    let second = lab.lease("fixed").unwrap();
    assert_eq!(known(&lab), (true, true));
    lab.addresses.release(first);
    lab.addresses.release(second);
    assert_eq!(known(&lab), (false, false));
}

#[test]
fn a_lease_is_small() {
    assert!(size_of::<Lease>() <= 56, "{}", size_of::<Lease>());
    assert!(size_of::<Ipv6Lease>() <= 80, "{}", size_of::<Ipv6Lease>());
}
