//! How often each rare rule was reached: what a run of the simulator must show to prove anything about them.

/// Declares the counters with their names in reports and scenario files.
macro_rules! marks {
    ($($(#[$doc:meta])* $field:ident = $name:literal,)*) => {
        /// Counters of one core since it was made. They decide nothing.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Marks {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Marks {
            /// Every counter with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$(($name, self.$field),)*].into_iter()
            }

            /// Adds those of another core.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

marks! {
    /// Leaders committed by certificates of a quorum.
    direct_commits = "direct-commit",
    /// Leaders committed by an anchor above.
    indirect_commits = "indirect-commit",
    /// Slots skipped by a quorum of blames.
    direct_skips = "direct-skip",
    /// Slots skipped by an anchor above.
    indirect_skips = "indirect-skip",
    /// Own blocks made by the leader timeout (C2).
    timeout_proposals = "timeout-proposal",
    /// Own blocks made at once because a quorum is ahead (C3).
    catch_up_proposals = "catch-up-proposal",
    /// Rounds left out because their slots were decided without this node.
    rounds_left_out = "rounds-left-out",
    /// Own blocks sent again because nothing moved.
    resends = "resend",
    /// Commits that changed the leader table.
    schedule_changes = "schedule-change",
    /// Second blocks of an author and round that came.
    twins_seen = "twin-seen",
    /// Second blocks in the history of a committed leader.
    twins_not_output = "twin-not-output",
    /// Proofs that wait for an own block.
    proofs_queued = "proof-queued",
    /// Proofs in committed blocks.
    proofs_committed = "proof-committed",
    /// Blocks that waited for an ancestor or their payload.
    blocks_suspended = "block-suspended",
    /// Blocks that had to go because their author's share of the table was full.
    suspended_overflows = "suspended-overflow",
    /// Blocks refused because two of their author and round were there.
    floods_refused = "flood-refused",
    /// Invalid headers.
    headers_refused = "header-refused",
    /// Blocks too far ahead to be kept.
    beyond_horizon = "beyond-horizon",
    /// Requests for headers.
    header_requests = "header-request",
    /// Requests for payloads.
    payload_requests = "payload-request",
    /// Times that it said to need commits.
    lags = "lag",
    /// Those times when others were near, and their blocks could not be accepted.
    held_up = "held-up",
    /// Commits adopted.
    adoptions = "adopt",
    /// Own blocks with payload that became garbage before a commit took them.
    own_dropped = "own-dropped",
}

impl Marks {
    /// A slot's decision was handed out.
    pub(crate) fn decided(&mut self, commit: bool, indirect: bool) {
        let counter = match (commit, indirect) {
            (true, false) => &mut self.direct_commits,
            (true, true) => &mut self.indirect_commits,
            (false, false) => &mut self.direct_skips,
            (false, true) => &mut self.indirect_skips,
        };
        *counter += 1;
    }
}
