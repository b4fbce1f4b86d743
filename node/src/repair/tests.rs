//! Damage of every kind in the middle of a log, and what comes back; and kills between all steps.

use super::fetch::{Fetch, FromBackup, Several};
use super::*;
use crate::backup::Manifest;
use crate::backup::depot::Depot;
use crate::backup::take::{Wanted, take};
use crate::config::{LOG, STATE};
use crate::fixtures::{executed, genesis, records_of};
use crate::rebuild::RebuildError;
use crate::rebuild::tests::{IDENTITY, directory, open_log, rebuild};
use crate::records::{BLOCK, COMMIT, PROPOSAL, SIGNED};
use crate::tables::Tables;
use std::fs;
use std::sync::Arc;
use storage::log::Files;
use storage::log::check;
use storage::state::{StateDb, StateOptions};
use tempfile::TempDir;
use types::Digest;

const HEIGHTS: u64 = 60;

/// Part of some group. How records are put into groups is a matter of time, so a single byte may be one behind the end of one,
/// which holds nothing.
const A_PAGE: std::ops::Range<usize> = 8_192..12_288;

/// A node's directory, with what it has certified in a backup.
struct Node {
    dir: TempDir,
    source: Source,
    backup: TempDir,
    header: Digest,
}

fn node() -> Node {
    node_of(directory(&executed(HEIGHTS)))
}

fn node_of((dir, source): (TempDir, Source)) -> Node {
    let header = rebuild(&source).expect("a whole log").header;
    let node = Node { dir, source, backup: tempfile::tempdir().expect("a directory"), header };
    assert_eq!(certified(&node, &node.depot()), HEIGHTS - 1);
    node
}

/// Backs everything up that the node can serve; how many heights.
fn certified(node: &Node, depot: &Depot) -> u64 {
    take(&node.source, depot, &Wanted::default(), &mut |_, _| {}).expect("a backup").added
}

impl Node {
    fn depot(&self) -> Depot {
        Depot::open(self.backup.path().to_str().expect("it is text"), None).expect("a directory")
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.dir.path().join(LOG).join(format!("{number:020}.seg"))
    }

    fn peers(&self) -> Several {
        Several(vec![Box::new(FromBackup::new(self.depot(), genesis()))])
    }

    fn repair(&self) -> Result<Done, RepairError> {
        repair(&self.source, &mut self.peers(), &mut |_| {})
    }

    fn site(&self) -> Site {
        Site { data_dir: self.source.data_dir.clone() }
    }

    /// Changes bytes of a segment.
    fn spoil(&self, segment: u64, places: impl Iterator<Item = usize>) {
        let mut bytes = fs::read(self.segment(segment)).expect("a segment");
        places.for_each(|place| bytes[place] ^= 0x55);
        fs::write(self.segment(segment), bytes).expect("a segment");
    }

    fn damaged(&self) -> u64 {
        let files = Files::inspect(&self.dir.path().join(LOG)).expect("a log");
        check::check(&files, &IDENTITY, &mut |_| Ok(())).expect("it can be read").damaged
    }

    /// The log is whole, its rows lead to blocks, and it gives the same state.
    fn is_whole(&self) {
        assert_eq!(self.damaged(), 0);
        assert!(!self.dir.path().join(REPAIR).exists());
        let fresh = tempfile::tempdir().expect("a directory");
        let depot = Depot::open(fresh.path().to_str().expect("it is text"), None).expect("a directory");
        assert_eq!(certified(self, &depot), HEIGHTS - 1, "every block is found");
        let rebuilt = rebuild(&self.source).expect("a whole log");
        assert_eq!((rebuilt.height, rebuilt.header), (Height(HEIGHTS), self.header));
    }
}

#[test]
fn flipped_bytes_torn_out_pages_and_lost_segments_come_back_proven() {
    let node = node();
    let segments = fs::read_dir(node.dir.path().join(LOG)).expect("a log").count() as u64;
    assert!(segments > 6, "{segments}");
    let nothing = Done { height: Height(HEIGHTS), state_kept: true, ..Done::default() };
    assert_eq!(node.repair().expect("nothing to do"), nothing);
    // A page of records.
    node.spoil(1, A_PAGE);
    let done = node.repair().expect("the backup has it");
    assert_eq!((done.from_segment, done.state_kept), (Some(1), true));
    assert!(done.damaged == 1 && done.kept > 0 && done.blocks > 0, "{done:?}");
    node.is_whole();
    // Whole pages in two segments.
    node.spoil(2, 8_192..30_000);
    node.spoil(3, 16_384..20_000);
    assert!(node.repair().expect("the backup has it").commits.len() > 1);
    node.is_whole();
    // A segment, and the first one.
    fs::remove_file(node.segment(2)).expect("a segment");
    node.repair().expect("the backup has it");
    node.is_whole();
    node.spoil(0, 0..60_000);
    let done = node.repair().expect("the backup has it");
    assert_eq!(done.from_segment, Some(0));
    node.is_whole();
    // Without a state the log is repaired all the same.
    node.spoil(1, 5_000..6_000);
    fs::remove_dir_all(node.dir.path().join(STATE)).expect("a state");
    assert!(!node.repair().expect("the backup has it").state_kept);
    rebuild(&node.source).expect("a whole log");
    node.is_whole();
}

#[test]
fn an_end_that_is_lost_is_missed_by_the_state_and_comes_back() {
    // All that this node has is certified, and in the backup of another one.
    let Node { backup, .. } = node();
    let (dir, source) = directory(&executed(HEIGHTS - 1));
    let header = rebuild(&source).expect("a whole log").header;
    let node = Node { dir, source, backup, header };
    let end = {
        let files = Files::inspect(&node.dir.path().join(LOG)).expect("a log");
        check::check(&files, &IDENTITY, &mut |_| Ok(())).expect("it can be read").end.segment
    };
    for segment in (end - 1..).take_while(|segment| node.segment(*segment).exists()) {
        fs::remove_file(node.segment(segment)).expect("a segment");
    }
    assert_eq!(node.damaged(), 0, "what is left is whole");
    // The state is not made one of fewer heights.
    let ended = rebuild(&node.source);
    assert!(matches!(ended, Err(RebuildError::Behind { state: Height(59), .. })), "{ended:?}");
    let done = node.repair().expect("the backup has it");
    assert_eq!((done.damaged, done.state_kept, done.height), (1, true, Height(HEIGHTS - 1)), "{done:?}");
    assert!(done.commits.len() > 1 && done.commits.last() == Some(&Height(HEIGHTS - 1)), "{done:?}");
    assert_eq!(node.damaged(), 0);
    assert_eq!(rebuild(&node.source).expect("a whole log").header, header);
}

/// Says which segment the log begins with.
fn begins_with(node: &Node, segment: u64) {
    let state = StateDb::open(node.dir.path().join(STATE), IDENTITY, StateOptions::default()).expect("a database");
    let tables = Tables::new(Arc::new(state));
    let mut batch = tables.batch();
    batch.log_begins_with(segment);
    tables.commit(batch).expect("a batch");
    tables.flush().expect("a disk that works");
}

#[test]
fn first_segments_that_are_lost_come_back_too() {
    let node = node();
    begins_with(&node, 0);
    (0..3).for_each(|segment| fs::remove_file(node.segment(segment)).expect("a segment"));
    let done = node.repair().expect("the backup has it");
    assert_eq!((done.from_segment, done.state_kept), (Some(0), true), "{done:?}");
    assert!(done.commits.len() > 2 && done.kept > 0, "{done:?}");
    node.is_whole();
}

#[test]
fn damage_in_the_oldest_segment_that_is_kept_leaves_rows_that_lead_to_blocks() {
    let node = node();
    (0..2).for_each(|segment| fs::remove_file(node.segment(segment)).expect("a segment"));
    begins_with(&node, 2);
    node.spoil(2, A_PAGE);
    let done = node.repair().expect("the backup has it");
    assert_eq!((done.from_segment, done.damaged, done.state_kept), (Some(2), 1, true), "{done:?}");
    assert_eq!(node.damaged(), 0);
    let state = StateDb::open(node.dir.path().join(STATE), IDENTITY, StateOptions::default()).expect("a database");
    let tables = Tables::new(Arc::new(state));
    let log = open_log(node.dir.path());
    let record = tables.commit_record(Height(HEIGHTS)).expect("a row").expect("the last commit");
    for block in &record.blocks {
        let place = tables.block_place(&block.digest).expect("a row").expect("a place");
        assert!(log.read(place.block).is_ok(), "{place:?}");
    }
    assert_eq!(tables.log_begin().expect("a row"), Some(0));
}

#[test]
fn another_node_s_log_is_not_taken_for_a_damaged_one() {
    let mut node = node();
    let before = fs::read(node.segment(1)).expect("a segment");
    node.source.identity = [77; 32];
    assert!(matches!(node.repair(), Err(RepairError::Foreign(_))));
    assert_eq!(fs::read(node.segment(1)).expect("a segment"), before);
}

#[test]
fn a_single_record_of_each_kind_comes_back_and_with_it_what_it_belongs_to() {
    // Each record is durable before the next one, so that no two share a group.
    let (dir, source) = directory(&[]);
    let log = open_log(dir.path());
    let (mut kinds, mut places) = (Vec::new(), Vec::new());
    for (kind, payload) in executed(HEIGHTS).iter().flat_map(records_of) {
        places.push(log.append_durable(kind, &[&payload]).expect("room"));
        kinds.push(kind);
    }
    drop(log);
    let node = node_of((dir, source));
    // From the end on, some segments apart: a repair moves what lies behind the damage.
    for (kind, below) in [(COMMIT, 58), (BLOCK, 48), (SIGNED, 38), (PROPOSAL, 28)] {
        let of_heights = &kinds[..kinds.len() / HEIGHTS as usize * below];
        let place = places[of_heights.iter().rposition(|each| *each == kind).expect("one of each kind")];
        node.spoil(place.segment, std::iter::once(place.offset as usize + 40));
        let done = node.repair().expect("the backup has it");
        assert_eq!((done.damaged, done.blocks + done.commits.len() as u64), (1, 1), "kind {kind}: {done:?}");
        node.is_whole();
    }
}

#[test]
fn a_file_beside_the_segments_is_not_removed_with_a_damaged_log() {
    let node = node();
    let copy = node.segment(1).with_extension("seg.bak");
    fs::copy(node.segment(1), &copy).expect("a segment");
    node.spoil(1, A_PAGE);
    assert!(matches!(node.repair(), Err(RepairError::StrayFile(file)) if file == copy));
    assert!(copy.exists() && node.damaged() > 0);
    fs::remove_file(&copy).expect("a file");
    node.repair().expect("the backup has it");
    node.is_whole();
}

#[test]
fn a_range_of_a_backup_is_got_once_for_heights_that_rise() {
    let node = node();
    let place = tempfile::tempdir().expect("a directory");
    let depot = || Depot::open(place.path().to_str().expect("it is text"), None).expect("a directory");
    let wanted = Wanted { range_bytes: 60_000, run_heights: 5, ..Wanted::default() };
    take(&node.source, &depot(), &wanted, &mut |_, _| {}).expect("a backup");
    let ranges = Manifest::read(&depot()).expect("a manifest").ranges;
    assert!(ranges.len() > 2 && ranges.iter().all(|range| range.to.0 >= range.from.0 + 5), "{ranges:?}");
    let path = |height: Height| {
        let range = ranges.iter().find(|range| (range.from..=range.to).contains(&height)).expect("a range");
        place.path().join(&range.kept.file)
    };
    let mut fetch = FromBackup::new(depot(), genesis());
    // Heights in between that nobody needs are passed over, in a range and between two.
    let (mut next, mut given) = (Height(2), Vec::new());
    while next < Height(HEIGHTS) {
        let commits = fetch.commits(next, next).expect("it is in the backup");
        let heights: Vec<Height> = commits.iter().map(|commit| commit.record.height).collect();
        assert_eq!((heights[0], heights.len() <= 5), (next, true), "{heights:?}");
        // Whoever gets it again does not find it.
        drop(fs::rename(path(next), path(next).with_extension("read")));
        given.extend(heights);
        next = Height(given.last().expect("heights").0 + if given.len() < 20 { 1 } else { 8 });
    }
    assert!(given.len() > 25, "{given:?}");
    ranges.iter().for_each(|range| drop(fs::rename(path(range.from).with_extension("read"), path(range.from))));
    // Lower ones, too, are given.
    assert_eq!(fetch.commits(Height(7), Height(7)).expect("it is in the backup")[0].record.height, Height(7));
}

#[test]
fn a_kill_leaves_the_damaged_log_or_the_repaired_one() {
    let node = node();
    let site = node.site();
    let prepare = || {
        node.spoil(1, 8_192..30_000);
        assert!(node.damaged() > 0);
        let held = hold(&node.source).expect("nobody is at work");
        let found = find::find(&node.source, held.files()).expect("it can be read");
        let first = found.first_damaged.expect("damage");
        let mut peers = node.peers();
        write::write(&node.source, &site, held.files(), &found, first, &mut peers, &mut |_| {}).expect("it is whole");
    };
    // Before the mark: half a log is forgotten.
    node.spoil(1, 8_192..30_000);
    fs::create_dir_all(site.new_log()).expect("a directory");
    fs::write(site.new_log().join("00000000000000000000.seg"), [0; 5_000]).expect("a file");
    assert!(!is_unfinished(node.dir.path()));
    node.repair().expect("the backup has it");
    node.is_whole();
    // Behind the mark.
    prepare();
    assert!(is_unfinished(node.dir.path()) && node.damaged() > 0);
    let beside = fs::File::open(site.dir()).expect("a directory");
    beside.lock().expect("nobody is at work");
    assert!(matches!(node.repair(), Err(RepairError::Held(RebuildError::InUse { .. }))));
    drop(beside);
    node.repair().expect("it is finished");
    node.is_whole();
    // Between the two renames.
    prepare();
    fs::rename(site.log(), site.old_log()).expect("a directory");
    assert!(is_unfinished(node.dir.path()));
    node.repair().expect("it is finished");
    node.is_whole();
    // Before the rows.
    prepare();
    fs::rename(site.log(), site.old_log()).expect("a directory");
    fs::rename(site.new_log(), site.log()).expect("a directory");
    node.repair().expect("it is finished");
    node.is_whole();
}

#[test]
fn what_nobody_has_is_named_and_the_log_stays() {
    let node = node();
    node.spoil(1, 9_000..9_010);
    let before = fs::read(node.segment(1)).expect("a segment");
    let ended = repair(&node.source, &mut Several(Vec::new()), &mut |_| {});
    assert!(matches!(ended, Err(RepairError::Nobody { .. })), "{ended:?}");
    assert_eq!(fs::read(node.segment(1)).expect("a segment"), before);
    assert!(!is_unfinished(node.dir.path()));
    // The next in line is asked.
    let empty = tempfile::tempdir().expect("a directory");
    let nothing = Depot::open(empty.path().to_str().expect("it is text"), None).expect("a directory");
    let mut several = node.peers();
    several.0.insert(0, Box::new(FromBackup::new(nothing, genesis())));
    repair(&node.source, &mut several, &mut |_| {}).expect("the second one has it");
    node.is_whole();
}
