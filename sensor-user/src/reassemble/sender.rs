//! Who sent a message that came in segments: each segment has an owner of its own, and a connection may change hands
//! between them (fork between connect and send).

use sensor_ebpf::abi::{Owner, grade, no_owner};

/// The owner of a segment's bytes; `opener` is the first that this direction of the connection had.
///
/// A segment that left from softirq does not say: then it is taken to be the opener's, which another process may have
/// got the connection from. Any other reason for none stands.
pub(super) fn of_segment(segment: Owner, opener: Option<&Owner>) -> Owner {
    match opener {
        Some(opener) if !is_known(&segment) && segment.reason == no_owner::TCP => inferred(*opener),
        _ => segment,
    }
}

/// The owner of a message whose bytes so far are `first`'s and go on with `more`'s.
pub(super) fn join(first: Owner, more: &Owner) -> Owner {
    match (is_known(&first), is_known(more)) {
        (true, true) if is_same(&first, more) => Owner { grade: first.grade.max(more.grade), ..first },
        // Whose bytes make it a question is not known.
        (true, _) => inferred(first),
        (false, true) => inferred(*more),
        (false, false) => first,
    }
}

fn is_known(owner: &Owner) -> bool {
    owner.grade != grade::NONE
}

fn is_same(a: &Owner, b: &Owner) -> bool {
    (a.tgid, a.start_boot_ns) == (b.tgid, b.start_boot_ns)
}

/// Grades are numbered from sure to unsure; a snapshot stays one.
fn inferred(owner: Owner) -> Owner {
    Owner { grade: owner.grade.max(grade::INFERRED), ..owner }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(tgid: u32, grade: u8) -> Owner {
        Owner { tgid, grade, reason: no_owner::HAS_OWNER, ..crate::event::no_owner(no_owner::TCP) }
    }

    fn said(owner: Owner) -> (u32, u8) {
        (owner.tgid, owner.grade)
    }

    #[test]
    fn a_segment_is_its_senders_and_the_openers_only_where_nobody_says() {
        let opener = owner(1, grade::EXACT);
        assert_eq!(said(of_segment(owner(2, grade::COOKIE), Some(&opener))), (2, grade::COOKIE));
        let softirq = crate::event::no_owner(no_owner::TCP);
        assert_eq!(said(of_segment(softirq, Some(&opener))), (1, grade::INFERRED));
        assert_eq!(said(of_segment(softirq, None)), (0, grade::NONE));
        let refused = crate::event::no_owner(no_owner::NO_SOURCE);
        assert_eq!(said(of_segment(refused, Some(&opener))), (0, grade::NONE));
    }

    #[test]
    fn bytes_of_two_processes_make_no_sure_owner() {
        let (one, two) = (owner(1, grade::EXACT), owner(2, grade::EXACT));
        let none = crate::event::no_owner(no_owner::TCP);
        assert_eq!(said(join(one, &one)), (1, grade::EXACT));
        assert_eq!(said(join(one, &owner(1, grade::COOKIE))), (1, grade::COOKIE));
        assert_eq!(said(join(one, &two)), (1, grade::INFERRED));
        assert_eq!(said(join(one, &none)), (1, grade::INFERRED));
        assert_eq!(said(join(none, &two)), (2, grade::INFERRED));
        assert_eq!(said(join(none, &none)), (0, grade::NONE));
    }
}
