//! Work on many items at once, with progress on a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The results in the order of the items, whatever order they were done in.
pub(crate) fn each<T: Sync, R: Send>(what: &str, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let next = AtomicUsize::new(0);
    let done = Mutex::new((0..items.len()).map(|_| None).collect::<Vec<_>>());
    let progress = Progress::new(what, items.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, item)) = take(&next, items) {
                    let result = work(item);
                    progress.step();
                    let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    done[index] = Some(result);
                }
            });
        }
    });
    progress.clear();
    done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_iter().flatten().collect()
}

fn take<'a, T>(next: &AtomicUsize, items: &'a [T]) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    items.get(index).map(|item| (index, item))
}

/// One line that counts up; nothing where nobody watches.
struct Progress<'a> {
    what: &'a str,
    total: usize,
    done: AtomicUsize,
    terminal: bool,
}

impl<'a> Progress<'a> {
    fn new(what: &'a str, total: usize) -> Self {
        Self { what, total, done: AtomicUsize::new(0), terminal: io::stderr().is_terminal() }
    }

    fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.terminal {
            let _ = write!(io::stderr(), "\r{} {done} of {}", self.what, self.total);
        }
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_once_and_in_order() {
        let items: Vec<u32> = (0..1000).collect();
        assert_eq!(each("", &items, |n| n * 2), items.iter().map(|n| n * 2).collect::<Vec<_>>());
        assert!(each("", &[] as &[u32], |n| *n).is_empty());
    }
}
