//! Findings that a running sensor can tell of at once: those of the store and those since, or only those where there is
//! no store. Bounded like the store's, so nothing is looked up on the disk when somebody asks.

use std::collections::VecDeque;

use crate::finding::{Finding, stored};

/// State changes with which no other block is begun.
const MAX: usize = 16_384;
/// Bytes of all blocks.
const MAX_BYTES: usize = 4 << 20;
/// Bytes of a block; the oldest state changes go by whole ones.
const BLOCK: usize = 256 << 10;
/// Version of the answers to `alerts` and `explain`.
pub const VERSION: u32 = 1;

/// They lie end to end in few large blocks, which are used again: records of all lengths, each in room of its own, would
/// leave the heap full of holes.
#[derive(Debug)]
pub struct Kept {
    /// The oldest first; the last one is filled.
    blocks: VecDeque<Block>,
    /// Room of all blocks.
    bytes: usize,
    /// Records in them.
    count: usize,
    /// Tells one run's cursors from another's.
    run: u64,
    /// Number of the next state change.
    next: u64,
    pub evicted: u64,
}

#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Where in its block a record's id ends and its JSON ends; the id begins where the record before ends.
#[derive(Clone, Copy, Debug)]
struct Place {
    id_end: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug)]
struct Record<'a> {
    id: &'a str,
    json: &'a [u8],
}

impl Kept {
    /// Bytes at most, with where each record is.
    pub const WORST_CASE_BYTES: usize = MAX_BYTES + MAX * 2 * size_of::<Place>();

    /// `run` is the time at which the sensor started.
    pub fn new(run: u64, stored: Vec<Vec<u8>>) -> Self {
        let mut kept = Self { blocks: VecDeque::new(), bytes: 0, count: 0, run, next: 0, evicted: 0 };
        for json in stored {
            kept.take(&json);
        }
        kept.evicted = 0;
        kept
    }

    pub fn push(&mut self, finding: &Finding) {
        self.take(&stored::write(finding));
    }

    fn take(&mut self, json: &[u8]) {
        let Some(id) = stored::id(json) else { return };
        self.next += 1;
        let len = id.len() + json.len();
        if self.blocks.back().is_none_or(|last| last.bytes.len() + len > BLOCK) {
            self.begin(len.max(BLOCK));
        }
        match self.blocks.back_mut() {
            Some(last) if last.bytes.len() + len <= last.bytes.capacity() => {
                last.push(&id, json);
                self.count += 1;
            }
            _ => self.evicted += 1,
        }
    }

    /// Begins a block of a size; none where it is more than all may have.
    fn begin(&mut self, size: usize) {
        let mut spare = None;
        while self.count >= MAX || self.bytes + size > MAX_BYTES {
            let Some(oldest) = self.blocks.pop_front() else { return };
            self.bytes -= oldest.bytes.capacity();
            self.count -= oldest.places.len();
            self.evicted += oldest.places.len() as u64;
            spare = Some(oldest);
        }
        let block = Block::again(spare, size);
        self.bytes += block.bytes.capacity();
        self.blocks.push_back(block);
    }

    /// All of them, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.all().map(|record| record.json)
    }

    fn all(&self) -> impl Iterator<Item = Record<'_>> {
        self.blocks.iter().flat_map(Block::records)
    }

    /// State changes after a cursor that an answer of this run gave, else all, oldest first, as a JSON object.
    pub fn since(&self, cursor: Option<&str>) -> Vec<u8> {
        let after = cursor.and_then(|cursor| {
            let (run, number) = cursor.split_once('-')?;
            (run.parse::<u64>().ok()? == self.run).then(|| number.parse::<u64>().ok())?
        });
        let first = self.next - self.count as u64;
        let skip = after.map_or(0, |after| after.saturating_sub(first));
        self.answer(self.all().skip(usize::try_from(skip).unwrap_or(usize::MAX)))
    }

    /// State changes of the findings whose id begins like this.
    pub fn about(&self, id: &str) -> Vec<u8> {
        self.answer(self.all().filter(|record| stored::is_named(record.id, id)))
    }

    fn answer<'a>(&self, records: impl Iterator<Item = Record<'a>>) -> Vec<u8> {
        let Self { run, next, evicted, .. } = self;
        let mut json =
            format!("{{\"v\":{VERSION},\"cursor\":\"{run}-{next}\",\"evicted\":{evicted},\"records\":[")
                .into_bytes();
        for (index, record) in records.enumerate() {
            if index > 0 {
                json.push(b',');
            }
            json.extend_from_slice(record.json);
        }
        json.extend_from_slice(b"]}");
        json
    }
}

impl Block {
    /// An empty one of a size, out of a `spare` one if that has it.
    fn again(spare: Option<Self>, size: usize) -> Self {
        let Some(mut block) = spare.filter(|spare| spare.bytes.capacity() == size) else {
            return Self { bytes: Vec::with_capacity(size), places: Vec::new() };
        };
        block.bytes.clear();
        block.places.clear();
        block
    }

    fn push(&mut self, id: &str, json: &[u8]) {
        self.bytes.extend_from_slice(id.as_bytes());
        let id_end = self.bytes.len() as u32;
        self.bytes.extend_from_slice(json);
        self.places.push(Place { id_end, end: self.bytes.len() as u32 });
    }

    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut start = 0;
        self.places.iter().map(move |place| {
            let (id, json) =
                (&self.bytes[start..place.id_end as usize], place.id_end as usize..place.end as usize);
            start = place.end as usize;
            // It was text before; an id that were none would be nobody's.
            Record { id: std::str::from_utf8(id).unwrap_or_default(), json: &self.bytes[json] }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u32) -> Vec<u8> {
        format!("{{\"id\":\"client-zone-{n:04x}\",\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(1000)).into_bytes()
    }

    fn numbers(answer: &[u8]) -> Vec<u64> {
        let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
        answer["records"].as_array().unwrap().iter().map(|record| record["n"].as_u64().unwrap()).collect()
    }

    fn cursor(answer: &[u8]) -> String {
        let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
        answer["cursor"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_cursor_gives_what_came_after_it() {
        let mut kept = Kept::new(7, vec![record(1), b"no record".to_vec(), record(2)]);
        let first = kept.since(None);
        assert_eq!(numbers(&first), [1, 2]);
        kept.take(&record(3));
        assert_eq!(numbers(&kept.since(Some(&cursor(&first)))), [3]);
        assert_eq!(numbers(&kept.since(Some("8-2"))), [1, 2, 3], "of another run");
        assert_eq!(numbers(&kept.since(Some("7-99999999"))), [0; 0]);
        assert_eq!(numbers(&kept.about("0002")), [2]);
        assert_eq!(numbers(&kept.about("client-zone-000")), [1, 2, 3]);
    }

    #[test]
    fn a_record_that_no_block_has_room_for_has_its_own() {
        let mut kept = Kept::new(7, Vec::new());
        let large =
            |n: u32| format!("{{\"id\":\"{n}\",\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(BLOCK)).into_bytes();
        for n in 0..40 {
            kept.take(&if n % 2 == 0 { large(n) } else { record(n) });
        }
        let all = numbers(&kept.since(None));
        assert_eq!(all, (all[0]..40).collect::<Vec<_>>());
        assert!(all[0] > 0 && kept.bytes <= MAX_BYTES && kept.evicted == all[0]);
        kept.take(
            &[b"{\"id\":\"huge\",\"n\":40,\"pad\":\"".to_vec(), vec![b'x'; MAX_BYTES], b"\"}".to_vec()]
                .concat(),
        );
        kept.take(&record(41));
        assert_eq!(numbers(&kept.since(None)), [41], "more than there is room for does not stay");
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut kept = Kept::new(7, Vec::new());
        let early = cursor(&kept.since(None));
        (0..6000).for_each(|n| kept.take(&record(n)));
        let all = numbers(&kept.since(Some(&early)));
        assert!(kept.bytes <= MAX_BYTES && kept.evicted > 1000 && *all.last().unwrap() == 5999);
        assert_eq!(all.len() as u64 + kept.evicted, 6000);
        assert!(all.windows(2).all(|pair| pair[0] + 1 == pair[1]) && kept.bytes > MAX_BYTES - 2 * BLOCK);
        assert!(kept.blocks.iter().all(|block| block.bytes.capacity() == BLOCK));
        assert_eq!(numbers(&kept.about("176f")), [5999]);
    }
}
