//! The known name that a mistyped one resembles.

/// The known dotted name nearest to the unknown one `section` `.` `leaf`, if one is near enough. A right name in the wrong section
/// is near.
pub(super) fn key(section: &str, leaf: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let apart = |name: &str| {
        let (known_section, known_leaf) = name.rsplit_once('.').unwrap_or(("", name));
        distance(leaf, known_leaf) + usize::from(known_section != section)
    };
    nearest(leaf, known.map(|name| (apart(name), name)))
}

/// The known section nearest to an unknown one.
pub(super) fn section(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    nearest(name, known.map(|section| (distance(name, section), section)))
}

/// A third of the letters may be wrong, and one always.
fn nearest(typed: &str, candidates: impl Iterator<Item = (usize, &'static str)>) -> Option<&'static str> {
    let limit = (typed.chars().count() / 3).max(1);
    candidates.filter(|(apart, _)| *apart <= limit).min_by_key(|(apart, _)| *apart).map(|(_, name)| name)
}

/// Letters to insert, drop, replace or swap with a neighbour, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    strsim::osa_distance(&a.to_lowercase(), &b.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["otas.brain_url", "otas.uasam_url", "store.path", "listen.proxy"];

    #[test]
    fn counts_inserted_dropped_replaced_and_swapped_letters() {
        assert_eq!(distance("via", "via"), 0);
        assert_eq!(distance("", "via"), 3);
        assert_eq!(distance("brian", "brain"), 1);
        assert_eq!(distance("pathh", "path"), 1);
        assert_eq!(distance("pat", "path"), 1);
        assert_eq!(distance("PATH", "path"), 0);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn finds_a_mistyped_name_and_a_name_in_the_wrong_section() {
        assert_eq!(key("otas", "brian_url", KNOWN.into_iter()), Some("otas.brain_url"));
        assert_eq!(key("otas", "brain-url", KNOWN.into_iter()), Some("otas.brain_url"));
        assert_eq!(key("", "brain_url", KNOWN.into_iter()), Some("otas.brain_url"));
        assert_eq!(key("listen", "path", KNOWN.into_iter()), Some("store.path"));
        assert_eq!(section("stroe", ["store", "otas"].into_iter()), Some("store"));
    }

    #[test]
    fn suggests_nothing_for_a_name_that_resembles_none() {
        assert_eq!(key("otas", "colour", KNOWN.into_iter()), None);
        assert_eq!(section("logging", ["store", "otas"].into_iter()), None);
    }
}
