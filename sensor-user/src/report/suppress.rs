//! What exceptions do to open findings.

use super::open::Open;
use super::{Case, Reports};
use crate::exception::{Earlier, Exceptions, Facts, Status};
use crate::finding::{self, Finding, State};

impl Reports {
    /// Looks again at findings that alert nobody: what no exception covers any more begins to.
    pub fn review(&mut self, now_ns: u64, emit: &mut dyn FnMut(Case, &Finding)) {
        let Self { open, exceptions, suppressed, .. } = self;
        for (case, open) in open.iter_mut().filter(|(_, open)| open.finding.is_suppressed()) {
            consider(open, exceptions, suppressed, now_ns);
            if open.told {
                open.finding.time = finding::time(now_ns.max(open.last_ns));
                emit(*case, &open.finding);
            }
        }
    }

    /// Counts what exceptions did in earlier runs.
    pub fn recall(&mut self, earlier: &Earlier) {
        self.exceptions.recall(earlier);
    }

    /// Exceptions with their counts.
    pub fn exceptions(&self) -> Vec<Status> {
        self.exceptions.status()
    }

    /// Exceptions that ended, to be told.
    pub fn exceptions_news(&mut self) -> Vec<String> {
        self.exceptions.news()
    }
}

impl Open {
    /// It alerts nobody, and by now there is something in it that no exception covers.
    pub(super) fn is_uncovered(&self) -> bool {
        self.has_payload && self.finding.is_suppressed() && !self.finding.is_observed()
    }
}

/// Marks a finding that is about to be stated. The first state that alerts is the one that creates it, for who is told.
pub(super) fn consider(open: &mut Open, exceptions: &mut Exceptions, suppressed: &mut u64, now_ns: u64) {
    if open.told {
        return;
    }
    let facts = Facts { finding: &open.finding, rules: &open.rules, has_payload: open.has_payload };
    let found = exceptions.find(&facts, now_ns);
    let before = open.finding.exception.take();
    if let Some((Some(index), exception)) = &found
        && before
            .as_ref()
            .is_none_or(|before| (&before.name, before.suppressed) != (&exception.name, exception.suppressed))
    {
        exceptions.count(*index, exception.suppressed, now_ns);
    }
    let was = before.is_some_and(|before| before.suppressed);
    open.finding.exception = found.map(|(_, exception)| exception);
    open.told = !open.finding.is_suppressed();
    match (was, open.told) {
        (false, false) => *suppressed += 1,
        (true, true) => {
            *suppressed -= 1;
            open.finding.state = State::Create;
        }
        _ => {}
    }
}
