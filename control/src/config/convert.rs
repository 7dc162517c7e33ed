//! What other parts take from the configuration.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use xlns_dataplane::api::{
    Configuration, ControlRates, POLICER_BURSTS, Policer, PortConfiguration,
};
use xlns_dataplane::quality::Settings;

use super::{ClientConfig, Config, PoolConfig, PortConfig, QualityConfig, UserConfig};

/// The least burst unless an operator says otherwise, large packets: a TCP connection begins with ten.
const BURST_PACKETS_MIN: u32 = 10;

impl PoolConfig {
    /// What it hands out, of both families and kinds.
    fn all_prefixes(&self) -> impl Iterator<Item = IpNet> {
        let links = self.ipv6_prefixes.iter().copied().map(IpNet::V6);
        let delegated = self.delegated_prefixes.iter().copied().map(IpNet::V6);
        self.prefixes.iter().copied().chain(links).chain(delegated)
    }
}

impl PortConfig {
    /// The kernel's interface that has the addresses, neighbours and routes of the port: that of the
    /// VLAN, by the name that it has by custom.
    pub fn kernel_interface(&self) -> String {
        match self.vlan {
            Some(vlan) => format!("{}.{vlan}", self.interface),
            None => self.interface.clone(),
        }
    }
}

impl UserConfig {
    /// What this user has of its own: address, prefixes, routes.
    pub fn fixed(&self) -> impl Iterator<Item = IpNet> {
        let address = self.address.map(|address| IpNet::from(IpAddr::V4(address)));
        let prefixes = [self.ipv6_prefix, self.delegated_prefix].into_iter().flatten();
        let routes = self.framed_routes.iter().copied();
        address.into_iter().chain(prefixes.map(IpNet::V6)).chain(routes)
    }

    /// What its sessions may send and be sent, upstream first.
    pub fn policers(&self) -> [Option<Policer>; 2] {
        [self.rate_up, self.rate_down].map(|kilobits| {
            let rate_bits_per_second = kilobits?.saturating_mul(1000);
            let tenth = u32::try_from(rate_bits_per_second / 80).unwrap_or(u32::MAX);
            let (least, most) =
                (*POLICER_BURSTS.start() * BURST_PACKETS_MIN, *POLICER_BURSTS.end());
            let burst_bytes = self.rate_burst_bytes.unwrap_or(tenth.clamp(least, most));
            Some(Policer { rate_bits_per_second, burst_bytes })
        })
    }

    /// Whether it has an address or a prefix of its own, and needs no pool.
    pub fn has_fixed(&self) -> bool {
        self.address.is_some() || self.ipv6_prefix.is_some() || self.delegated_prefix.is_some()
    }
}

impl Config {
    /// What the data plane is told at its start.
    pub fn dataplane_configuration(&self) -> Configuration {
        let dataplane = &self.dataplane;
        let port = |port: &PortConfig| PortConfiguration {
            interface: port.interface.clone(),
            queues: port.queues,
            core: port.core,
            mode: port.mode,
            vlan: port.vlan,
        };
        Configuration {
            ports: self.port.iter().map(port).collect(),
            workers: dataplane.workers,
            cores: dataplane.cores.clone(),
            frames_per_queue: dataplane.frames_per_queue,
            sessions_max: self.l2tp.sessions_max,
            routes_max: dataplane.routes_max,
            tun_name: dataplane.tun_name.clone(),
            tun_mtu: dataplane.tun_mtu,
            busy_poll: dataplane.busy_poll,
            handoff: dataplane.handoff,
            l2tp_port: self.lns.port,
            l2tp_port_count: self.l2tp_port_count(),
            control_rates: ControlRates {
                setup_packets_per_second: dataplane.setup_packets_per_second,
                tunnel_packets_per_second: dataplane.tunnel_packets_per_second,
                ppp_packets_per_second: dataplane.ppp_packets_per_second,
                burst_packets: dataplane.control_burst_packets,
            },
            gateway: Some(self.lns.gateway),
            gateway_ipv6: self.gateway_ipv6(),
            quality: self.quality_settings(),
        }
    }

    /// How sessions are monitored; `None`: they are not.
    pub fn quality_settings(&self) -> Option<Settings> {
        let QualityConfig { interval_ms, loss_after_ms } = self.quality;
        (interval_ms > 0).then_some(Settings { interval_ms, loss_after_ms })
    }

    /// Where ICMPv6 errors come from.
    fn gateway_ipv6(&self) -> Option<Ipv6Addr> {
        let listen = self.lns.listen.iter().filter_map(|address| match address {
            IpAddr::V6(address) if !address.is_unspecified() => Some(*address),
            _ => None,
        });
        self.lns.gateway_ipv6.into_iter().chain(listen).next()
    }

    /// Where subscribers' addresses lie: the prefixes of the pools, and what users have of their own
    /// outside of them.
    pub fn subscriber_prefixes(&self) -> Vec<IpNet> {
        let mut prefixes: Vec<IpNet> =
            self.pool.iter().flat_map(PoolConfig::all_prefixes).collect();
        let pools = prefixes.len();
        for prefix in self.user.iter().flat_map(UserConfig::fixed) {
            let of_pools = prefixes.get(..pools).unwrap_or_default();
            if !of_pools.iter().any(|pool| pool.contains(&prefix)) {
                prefixes.push(prefix);
            }
        }
        prefixes.sort_unstable();
        prefixes
    }

    /// What is allowed but probably not meant; a line each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let is_dialler = !self.client.is_empty() && self.subscriber_prefixes().is_empty();
        if self.user.is_empty() && !is_dialler {
            warnings.push("no [[user]]: every subscriber will be refused".to_owned());
        }
        if self.lac.iter().all(|lac| lac.secret.is_none()) {
            warnings.push(
                "no tunnel secret: whoever reaches the L2TP port can open tunnels".to_owned(),
            );
        }
        if self.dataplane.tun_mtu > self.ppp.mru {
            warnings.push(format!(
                "dataplane.tun_mtu ({}) is above ppp.mru ({}): packets of this host to subscribers \
                 may be larger than they take",
                self.dataplane.tun_mtu, self.ppp.mru
            ));
        }
        warnings.extend(self.warnings_of_ipv6());
        warnings.extend(self.client.iter().filter(|client| self.is_deaf(client)).map(|client| {
            format!(
                "client `{}` sends neither HELLOs nor Echo-Requests: a server that is gone is never \
                 missed; give it hello_interval_seconds or echo_interval_seconds",
                client.name
            )
        }));
        warnings
    }

    /// Whether nothing asks a client's server for a sign of life.
    fn is_deaf(&self, client: &ClientConfig) -> bool {
        let hello = client.hello_interval_seconds.unwrap_or(self.l2tp.hello_interval_seconds);
        let echo = client.echo_interval_seconds.unwrap_or(self.ppp.echo_interval_seconds);
        (hello, echo, client.idle_seconds) == (0, 0, 0)
    }

    /// Where IPv6 is configured and no packet of it would fit.
    fn warnings_of_ipv6(&self) -> Vec<String> {
        let least = crate::ipv6::MTU_MIN;
        let pools = self
            .pool
            .iter()
            .any(|pool| !pool.ipv6_prefixes.is_empty() || !pool.delegated_prefixes.is_empty());
        let has_prefixes =
            |user: &UserConfig| user.ipv6_prefix.is_some() || user.delegated_prefix.is_some();
        let offered = self.ppp.ipv6 && (pools || self.user.iter().any(has_prefixes));
        let lacs = self.lac_profiles().into_iter().filter(|_| offered);
        let lacs = lacs.filter(|lac| lac.mru.is_some_and(|mru| mru < least)).map(|lac| {
            let (name, mru) = (lac.name, lac.mru.unwrap_or_default());
            format!("LAC profile `{name}` has an MRU of {mru}: IPv6 needs {least}, and stays down")
        });
        let clients = self.client.iter().filter(|client| client.ipv6).filter_map(|client| {
            let (name, mru) = (&client.name, client.mru.unwrap_or(self.ppp.mru));
            let text =
                format!("client `{name}` has an MRU of {mru}: IPv6 packets may have {least}");
            (mru < least).then_some(text)
        });
        lacs.chain(clients).collect()
    }

    /// The configuration in force, as TOML, secrets replaced.
    ///
    /// # Errors
    /// Where the serialiser cannot write a value; no checked configuration has one.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [lns]
        listen = ["192.0.2.1"]
        gateway = "10.0.0.1"
        port = 1801
        [l2tp]
        sessions_max = 77
        [dataplane]
        workers = 2
        cores = [4, 6]
        setup_packets_per_second = 11
        [[port]]
        interface = "eth0"
        queues = 2
        [[port]]
        interface = "eth1"
        core = true
        mode = "generic"
        [[lac]]
        name = "any"
        source_ports = 3
        secret = "hunter2"
        [[pool]]
        name = "home"
        prefixes = ["10.0.0.0/24"]
        ipv6_prefixes = ["2001:db8::/48"]
        delegated_prefixes = ["2001:db8:4000::/36"]
        [[user]]
        name = "inside"
        password = "hunter2"
        address = "10.0.0.7"
        [[user]]
        name = "outside"
        password = "hunter2"
        address = "172.16.0.7"
        ipv6_prefix = "2001:db8:8::/64"
        framed_routes = ["172.17.0.0/24"]
    "#;

    #[test]
    fn the_data_plane_is_told_all_of_its_part() {
        let configuration = Config::parse("x.toml", TEXT).unwrap().dataplane_configuration();
        assert_eq!(configuration.workers, 2);
        assert_eq!(configuration.cores, [4, 6]);
        assert_eq!(configuration.sessions_max, 77);
        let settings = |interval_ms, loss_after_ms| Some(Settings { interval_ms, loss_after_ms });
        assert_eq!(configuration.quality, settings(10_000, 3_000));
        let quality = |text: &str| {
            Config::parse("x.toml", &format!("{TEXT}[quality]\n{text}")).unwrap().quality_settings()
        };
        assert_eq!(quality("interval_ms = 0\n"), None);
        assert_eq!(quality("interval_ms = 100\nloss_after_ms = 3000\n"), settings(100, 3000));
        assert_eq!((configuration.l2tp_port, configuration.l2tp_port_count), (1801, 3));
        assert_eq!(configuration.control_rates.setup_packets_per_second, 11);
        let ports: Vec<_> = configuration
            .ports
            .iter()
            .map(|port| (port.interface.as_str(), port.queues, port.core, port.mode.name()))
            .collect();
        assert_eq!(ports, [("eth0", 2, false, "native-zero-copy"), ("eth1", 0, true, "generic")]);
    }

    #[test]
    fn pools_and_what_is_fixed_outside_of_them_are_subscriber_prefixes() {
        const EXPECTED: [&str; 6] = [
            "10.0.0.0/24",
            "172.16.0.7/32",
            "172.17.0.0/24",
            "2001:db8::/48",
            "2001:db8:8::/64",
            "2001:db8:4000::/36",
        ];
        let config = Config::parse("x.toml", TEXT).unwrap();
        let expected: Vec<IpNet> = EXPECTED.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(config.subscriber_prefixes(), expected);
    }

    #[test]
    fn what_is_printed_is_read_back_but_for_the_secrets() {
        let config = Config::parse("x.toml", TEXT).unwrap();
        let printed = config.to_toml().unwrap();
        assert!(!printed.contains("hunter2"), "{printed}");
        assert_eq!(printed.matches("\"<set>\"").count(), 3);
        let again = Config::parse("y.toml", &printed.replace("<set>", "hunter2")).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn what_is_probably_not_meant_is_said() {
        let config = Config::parse("x.toml", TEXT).unwrap();
        assert_eq!(config.warnings(), [""; 0]);
        let least = "[lns]\nlisten = [\"192.0.2.1\"]\ngateway = \"10.0.0.1\"\n\
            [[port]]\ninterface = \"eth0\"\n[dataplane]\ntun_mtu = 1461\n";
        let config = Config::parse("x.toml", least).unwrap();
        assert_eq!(config.warnings().len(), 3);
    }

    #[test]
    fn a_client_that_would_never_miss_its_server_is_said() {
        let warnings = |more: &str| {
            let client = "[[client]]\nname = \"up\"\nuser = \"u\"\npassword = \"p\"\n\
                servers = [{ address = \"203.0.113.1\" }]\n";
            Config::parse("x.toml", &format!("{TEXT}{client}{more}")).unwrap().warnings()
        };
        assert_eq!(warnings("hello_interval_seconds = 0\necho_interval_seconds = 10\n"), [""; 0]);
        assert_eq!(warnings("hello_interval_seconds = 60\necho_interval_seconds = 0\n"), [""; 0]);
        let [deaf] = &warnings("hello_interval_seconds = 0\necho_interval_seconds = 0\n")[..]
        else {
            panic!()
        };
        assert!(deaf.starts_with("client `up` sends neither HELLOs nor"), "{deaf}");
    }

    #[test]
    fn an_mru_too_small_for_ipv6_is_said() {
        let warnings = |mru: &str, more: &str| {
            let text = format!("{}{more}", TEXT.replace("source_ports = 3", mru));
            Config::parse("x.toml", &text).unwrap().warnings()
        };
        assert_eq!(warnings("mru = 1280", ""), [""; 0]);
        let [small] = &warnings("mru = 1279", "")[..] else { panic!() };
        assert!(small.starts_with("LAC profile `any` has an MRU of 1279"), "{small}");
        assert_eq!(warnings("mru = 1279", "[ppp]\nipv6 = false\n"), [""; 0]);
        let client = "[[client]]\nname = \"up\"\nuser = \"u\"\npassword = \"p\"\n\
            servers = [{ address = \"203.0.113.1\" }]\nmru = 1000\n";
        assert_eq!(warnings("", client), [""; 0]);
        let [small] = &warnings("", &format!("{client}ipv6 = true\n"))[..] else { panic!() };
        assert!(small.starts_with("client `up` has an MRU of 1000"), "{small}");
    }
}
