//! The TCP ports that the system gives out by itself, and those that nobody may bind.
//!
//! No documented call tells them; `netsh` does, in the words of its language and in numbers, which are what is read.

use ringfence_plan::windows::facts::{ExcludedBy, ExcludedPorts};
use ringfence_plan::windows::step::PortRange;

/// What Windows gives out unless told otherwise. Source: learn.microsoft.com "The default dynamic port range for
/// TCP/IP".
pub(crate) const DEFAULT_DYNAMIC: PortRange = PortRange {
    first: 49152,
    last: 65535,
};

/// The range in the answer to `netsh int ipv4 show dynamicport tcp`: a first port and how many there are.
pub(crate) fn dynamic(answer: &str) -> Option<PortRange> {
    let mut numbers = answer.lines().filter_map(|line| {
        let (_, value) = line.rsplit_once(':')?;
        value.trim().parse::<u16>().ok()
    });
    let (first, count) = (numbers.next()?, numbers.next()?);
    let last = first.checked_add(count.checked_sub(1)?)?;
    Some(PortRange { first, last })
}

/// The ranges in the answer to `netsh int ipv4 show excludedportrange protocol=tcp`: two numbers a line, with a star
/// for those that an administrator has excluded for good.
pub(crate) fn excluded(answer: &str) -> Vec<ExcludedPorts> {
    let ranges = answer.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let first = words.next()?.parse().ok()?;
        let last = words.next()?.parse().ok()?;
        let by = match words.next() {
            None => ExcludedBy::Service,
            Some("*") => ExcludedBy::Administrator,
            Some(_) => return None,
        };
        Some(ExcludedPorts {
            range: PortRange { first, last },
            by,
        })
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_any_language() {
        let german = "\r\nProtokoll tcp - Dynamischer Portbereich\r\n---------------------\r\n\
                      Startport          : 49152\r\nAnzahl von Ports   : 16384\r\n\r\n";
        assert_eq!(dynamic(german), Some(DEFAULT_DYNAMIC));
        assert_eq!(dynamic("nothing: here"), None);
        assert_eq!(dynamic("a: 65535\nb: 2\n"), None);
        let ranges = "\r\nStart Port    End Port\r\n----------    --------\r\n      5357        5357\r\n\
                      50000       50059     *\r\n\r\n* - Administered port exclusions.\r\n";
        let ranges: Vec<_> = excluded(ranges)
            .into_iter()
            .map(|one| (one.range.first, one.range.last, one.by))
            .collect();
        assert_eq!(
            ranges,
            [
                (5357, 5357, ExcludedBy::Service),
                (50000, 50059, ExcludedBy::Administrator)
            ]
        );
    }
}
