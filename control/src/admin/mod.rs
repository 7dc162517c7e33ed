//! The operator's socket.

/// Where the socket is unless the configuration says otherwise.
pub const SOCKET_DEFAULT: &str = "/run/xlns/admin.sock";
