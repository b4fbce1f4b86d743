//! The scenarios of `consensus/scenarios`, known by name.

/// Name and text of each.
pub const ALL: [(&str, &str); 22] = [
    ("steady-10", include_str!("../../../scenarios/steady-10.toml")),
    ("one-crashed-10", include_str!("../../../scenarios/one-crashed-10.toml")),
    ("three-crashed-10", include_str!("../../../scenarios/three-crashed-10.toml")),
    ("steady-100", include_str!("../../../scenarios/steady-100.toml")),
    ("crashed-100", include_str!("../../../scenarios/crashed-100.toml")),
    ("crashed-leaders", include_str!("../../../scenarios/crashed-leaders.toml")),
    ("hung-leader", include_str!("../../../scenarios/hung-leader.toml")),
    ("partial-links-3-of-9", include_str!("../../../scenarios/partial-links-3-of-9.toml")),
    ("round-jump", include_str!("../../../scenarios/round-jump.toml")),
    ("schedule-boundary", include_str!("../../../scenarios/schedule-boundary.toml")),
    ("gc-conflict", include_str!("../../../scenarios/gc-conflict.toml")),
    ("amnesia", include_str!("../../../scenarios/amnesia.toml")),
    ("removed-validator", include_str!("../../../scenarios/removed-validator.toml")),
    ("epoch-in-partition", include_str!("../../../scenarios/epoch-in-partition.toml")),
    ("lost-history", include_str!("../../../scenarios/lost-history.toml")),
    ("wan-10", include_str!("../../../scenarios/wan-10.toml")),
    ("wan-10-withhold", include_str!("../../../scenarios/wan-10-withhold.toml")),
    ("wan-10-drop", include_str!("../../../scenarios/wan-10-drop.toml")),
    ("mix-4", include_str!("../../../scenarios/mix-4.toml")),
    ("mix-4-far-behind", include_str!("../../../scenarios/mix-4-far-behind.toml")),
    ("mix-4-epochs", include_str!("../../../scenarios/mix-4-epochs.toml")),
    ("mix-7", include_str!("../../../scenarios/mix-7.toml")),
];

/// The text of a scenario.
pub fn text(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
