//! What the test internet knows: names, their addresses, and the ports that its servers listen on.

/// A name that leads to a public address first, and to loopback when it is asked for again.
pub const FLIPPING: &str = "flipping.example.com";

/// The ports of its origins.
pub const PORTS: [u16; 7] = [22, 53, 80, 443, 8080, 9000, 61_080];

/// Names and their addresses.
///
/// Ordinary-looking ones: documentation ranges are refused for what they are. Nothing of this leaves the namespace.
pub const ADDRESSES: &[(&str, &[&str])] = &[
    (
        "allowed.example.com",
        &["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"],
    ),
    ("four.example.com", &["93.184.216.34"]),
    ("below.tree.example.com", &["93.184.216.36"]),
    ("tree.example.com", &["93.184.216.36"]),
    ("other.example.net", &["93.184.216.35"]),
    ("denied.tree.example.com", &["93.184.216.36"]),
    ("mixed.example.com", &["93.184.216.34", "10.0.0.1"]),
    ("private.example.com", &["10.0.0.1"]),
    ("loopback.example.com", &["127.0.0.1"]),
    ("metadata.example.com", &["169.254.169.254"]),
    ("mapped.example.com", &["::ffff:127.0.0.1"]),
    ("nat64.example.com", &["64:ff9b::a9fe:a9fe"]),
    (FLIPPING, &["93.184.216.37"]),
    ("flipped", &["127.0.0.1"]),
];
