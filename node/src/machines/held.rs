//! Frames of a peer that is not let in yet: the newest, so that one that is let in later is where it is now, and what came
//! before can be asked for.

use std::collections::VecDeque;
use transport::MeshEvent;

/// Frames that wait, and their bytes, at most. A payload may be larger: it alone is held then.
const FRAMES_MAX: usize = 256;
const BYTES_MAX: usize = 4 << 20;

/// See the module.
#[derive(Default)]
pub(super) struct Held {
    frames: VecDeque<MeshEvent>,
    bytes: usize,
}

fn bytes(event: &MeshEvent) -> usize {
    if let MeshEvent::Frame { bytes, .. } = event { bytes.len() } else { 0 }
}

impl Held {
    /// Keeps a frame, and lets the oldest go.
    pub(super) fn keep(&mut self, event: MeshEvent) {
        self.bytes += bytes(&event);
        self.frames.push_back(event);
        while self.frames.len() > FRAMES_MAX || (self.bytes > BYTES_MAX && self.frames.len() > 1) {
            let oldest = self.frames.pop_front();
            self.bytes -= oldest.as_ref().map_or(0, bytes);
        }
    }

    /// All of them, in their order.
    pub(super) fn take(&mut self) -> VecDeque<MeshEvent> {
        self.bytes = 0;
        std::mem::take(&mut self.frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use transport::Class;

    fn frame(length: usize, mark: u8) -> MeshEvent {
        MeshEvent::Frame { peer: 1, class: Class::Header, bytes: Bytes::from(vec![mark; length]) }
    }

    fn marks(held: &mut Held) -> Vec<u8> {
        let mark = |event: MeshEvent| if let MeshEvent::Frame { bytes, .. } = event { bytes[0] } else { 0 };
        held.take().into_iter().map(mark).collect()
    }

    #[test]
    fn the_newest_frames_are_held_within_both_bounds() {
        let mut held = Held::default();
        (0..=255).chain([1, 2]).for_each(|mark| held.keep(frame(10, mark)));
        assert_eq!(marks(&mut held), (2..=255).chain([1, 2]).collect::<Vec<_>>());
        [frame(BYTES_MAX / 2, 1), frame(BYTES_MAX / 2, 2), frame(1, 3)].into_iter().for_each(|event| held.keep(event));
        assert_eq!(marks(&mut held), [2, 3]);
        [frame(1, 1), frame(2 * BYTES_MAX, 2)].into_iter().for_each(|event| held.keep(event));
        assert_eq!(marks(&mut held), [2], "one frame is held whatever its length");
        held.keep(frame(BYTES_MAX, 9));
        assert_eq!(marks(&mut held), [9], "what was taken counts no more");
    }
}
