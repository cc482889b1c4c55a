//! Names that people give: words of them, hosts and sites.

use std::sync::LazyLock;

use crate::emulate::Random;

/// 256 words, in the order of the alphabet.
const WORDS: &str = "\
    account action admin agency alpha amber anchor apple archive arrow asset atlas audio august autumn \
    avenue badge baker bank basic beacon berry bird blaze block bloom blue board book border bottle bridge \
    bright broker brook browser budget build cabin cable camera campus canal candle canvas capital carbon \
    card cargo castle cedar center chart circle citrus city classic clear clinic cloud club coast cobalt \
    coffee comet compass content copper coral corner craft credit crest crown crystal cycle daily data \
    dealer delta design desk device digital direct doctor dragon drive eagle earth east echo edge editor \
    emerald energy engine event express fabric factory falcon farm feather field film finance fire flag \
    fleet flower focus forest forum fox frame fresh frontier garden gate gateway glass global gold grand \
    graph green grid guide harbor harvest health heart hill home honey horizon hotel house hunter ice image \
    index indigo island ivory jacket jade journal jungle junior kernel key kitchen lake lamp laser launch \
    leader leaf learn legal lemon level library light lime linen lion local logic lunar magnet mail maple \
    marble market master matrix media mentor metal meteor metro mint mirror mobile model monitor moon motor \
    mountain music native nature nectar network night north nova oak ocean office olive onion orange orbit \
    orchid order origin otter outlet oxygen oyster paper park partner pearl people pepper phone photo pilot \
    pine planet plaza point polar portal power press prime profile project pulse purple quartz query quick \
    radio rain ranger record reef region relay report ridge river robin rocket rose royal salt sand science";

/// How sites call their hosts.
const HOSTS: &str = "www www www api cdn static img images assets mail login m app media js css fonts video news shop \
    blog account auth data ads track metrics edge web files download update search maps content";

/// The 256 words; a byte is one of them.
pub fn all() -> &'static [&'static str] {
    static ALL: LazyLock<Vec<&str>> = LazyLock::new(|| WORDS.split_ascii_whitespace().collect());
    &ALL
}

pub fn word(random: &mut Random) -> &'static str {
    random.pick(all())
}

/// A label that somebody could have registered.
pub fn registered(random: &mut Random) -> String {
    let (first, second) = (word(random), word(random));
    match random.below(6) {
        0 => first.to_owned(),
        1 => format!("{first}-{second}"),
        2 => format!("{first}{}", random.below(99) + 1),
        3 => format!("my{first}"),
        _ => format!("{first}{second}"),
    }
}

/// A host of a site: most often www or another usual one.
pub fn host(random: &mut Random) -> String {
    static USUAL: LazyLock<Vec<&str>> = LazyLock::new(|| HOSTS.split_ascii_whitespace().collect());
    let usual = USUAL.as_slice();
    match random.below(10) {
        0 => word(random).to_owned(),
        1 => format!("{}{}", random.pick(usual), random.below(9) + 1),
        2 => format!("{}-{}", random.pick(usual), random.pick(&["eu", "us", "prod", "west", "v2", "edge"])),
        _ => random.pick(usual).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_byte_is_a_word() {
        let words = all();
        assert_eq!((words.len(), words.iter().collect::<BTreeSet<_>>().len()), (256, 256));
        assert!(words.is_sorted() && words.iter().all(|word| word.len() <= 9), "{words:?}");
    }
}
