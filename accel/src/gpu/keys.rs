//! Which key lies in which slot of the device's key table: a cache with the clock's second chance. The table itself, with
//! what was prepared from each key, lies on the device.
//!
//! A slot that the present launch uses is never given away within it; one of an earlier launch may be, because the device
//! works on launches one after the other. So there must be at least as many slots as a launch has items.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A key's bytes: at most a compressed point, shorter ones end in zeros.
pub(super) type KeyBytes = [u8; 33];

pub(super) struct KeySlots {
    by_key: HashMap<KeyBytes, u32>,
    slots: Vec<Slot>,
    hand: usize,
    launch: u64,
    hits: u64,
    misses: u64,
}

#[derive(Clone)]
struct Slot {
    key: KeyBytes,
    /// The launch that last asked for it; 0 for a slot that was never filled.
    used: u64,
    /// Asked for since the hand last passed.
    recent: bool,
}

impl KeySlots {
    pub(super) fn new(slots: u32) -> Self {
        let empty = Slot { key: [0; 33], used: 0, recent: false };
        Self { by_key: HashMap::new(), slots: vec![empty; slots as usize], hand: 0, launch: 1, hits: 0, misses: 0 }
    }

    /// What follows belongs to a new launch.
    pub(super) fn begin_launch(&mut self) {
        self.launch += 1;
    }

    /// The slot of a key; true if it has to be prepared in this launch.
    ///
    /// # Panics
    /// If one launch asks for more keys than there are slots.
    pub(super) fn slot_of(&mut self, key: &KeyBytes) -> (u32, bool) {
        match self.by_key.entry(*key) {
            Entry::Occupied(entry) => {
                let index = *entry.get();
                let slot = &mut self.slots[index as usize];
                (slot.used, slot.recent) = (self.launch, true);
                self.hits += 1;
                (index, false)
            }
            Entry::Vacant(entry) => {
                let (slots, launch) = (&mut self.slots, self.launch);
                let mut passed = 0;
                let index = loop {
                    let index = self.hand;
                    self.hand = (self.hand + 1) % slots.len();
                    let slot = &mut slots[index];
                    if slot.used != launch && !std::mem::take(&mut slot.recent) {
                        break index;
                    }
                    passed += 1;
                    assert!(passed <= 2 * slots.len(), "a launch has at most as many keys as there are slots");
                };
                let number = u32::try_from(index).expect("the number of slots came as u32");
                entry.insert(number);
                let old = std::mem::replace(&mut slots[index], Slot { key: *key, used: launch, recent: false });
                if old.used != 0 {
                    self.by_key.remove(&old.key);
                }
                self.misses += 1;
                (number, true)
            }
        }
    }

    /// Keys that were at hand, and keys that were not.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> KeyBytes {
        [number; 33]
    }

    #[test]
    fn a_key_keeps_its_slot_and_is_prepared_once() {
        let mut slots = KeySlots::new(4);
        slots.begin_launch();
        let (first, new) = slots.slot_of(&key(1));
        assert!(new);
        assert_eq!(slots.slot_of(&key(1)), (first, false));
        slots.begin_launch();
        assert_eq!(slots.slot_of(&key(1)), (first, false));
        assert_eq!(slots.counts(), (2, 1));
    }

    #[test]
    fn a_launch_never_loses_a_slot_of_its_own_and_frequent_keys_stay() {
        let mut slots = KeySlots::new(4);
        for launch in 0..60u8 {
            slots.begin_launch();
            let (home, _) = slots.slot_of(&key(200));
            let mut taken = vec![home];
            for other in 0..3 {
                taken.push(slots.slot_of(&key((launch * 3 + other) % 199)).0);
            }
            taken.sort_unstable();
            assert_eq!(taken, [0, 1, 2, 3], "launch {launch}");
            assert_eq!(slots.slot_of(&key(200)), (home, false));
        }
        let mut slots = KeySlots::new(4);
        let mut prepared = 0;
        for launch in 0..90u8 {
            slots.begin_launch();
            prepared += u32::from(slots.slot_of(&key(200)).1);
            slots.slot_of(&key(launch));
        }
        assert_eq!(prepared, 1, "a key of every launch is never given away");
    }
}
