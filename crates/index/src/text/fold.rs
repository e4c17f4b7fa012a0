//! Making the spellings of a word equal: rules 1 to 6.

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;

/// A text in the one form in which texts are compared. Folding twice changes nothing.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let apostrophes = text.chars().map(|c| if c == '\u{b4}' { '\'' } else { c });
    let bare = apostrophes.nfkd().filter(|c| !is_dropped(*c));
    let mut plain = String::with_capacity(text.len());
    for c in bare.default_case_fold() {
        match c {
            'ł' => plain.push('l'),
            'ø' => plain.push('o'),
            'đ' => plain.push('d'),
            'æ' => plain.push_str("ae"),
            'œ' => plain.push_str("oe"),
            _ => plain.push(c),
        }
    }
    plain.nfkd().filter(|c| !is_dropped(*c)).nfc().collect()
}

fn is_dropped(c: char) -> bool {
    matches!(c,
        // Diacritics of the Latin, Greek and Cyrillic kind.
        '\u{300}'..='\u{36f}'
        | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}'
        // Hebrew points.
        | '\u{591}'..='\u{5bd}'
        | '\u{5bf}'
        | '\u{5c1}'..='\u{5c2}'
        | '\u{5c4}'..='\u{5c5}'
        | '\u{5c7}'
        // Arabic tatweel and harakat.
        | '\u{640}'
        | '\u{64b}'..='\u{65f}'
        | '\u{670}'
        // What cannot be seen and cannot be typed at will.
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200c}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{e0100}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_spellings_of_a_word_become_one() {
        let cases = [
            ("Beyoncé", "beyonce"),
            ("BEYONCE\u{301}", "beyonce"),
            ("Straße", "strasse"),
            ("STRASSE", "strasse"),
            ("ﬁnale", "finale"),
            ("ＦＵＬＬ", "full"),
            ("Łódź", "lodz"),
            ("Đorđe", "dorde"),
            ("Ærø", "aero"),
            ("Œuvre", "oeuvre"),
            ("Ǽ", "ae"),
            ("Ǿ", "o"),
            ("İstanbul", "istanbul"),
            ("Ὀδυσσεύς", "οδυσσευσ"),
            ("ᾳ", "α"),
            ("Ёлка Йод", "елка иод"),
            ("שָׁלוֹם", "שלום"),
            ("مُحَمَّد", "محمد"),
            ("محـــمد", "محمد"),
            ("ｶﾞﾝﾀﾞﾑ", "ガンダム"),
            ("हिन्दी", "हिन्दी"),
            ("서울", "서울"),
            ("½", "1\u{2044}2"),
            ("co\u{ad}op", "coop"),
            ("don´t", "don't"),
        ];
        for (text, folded) in cases {
            assert_eq!(fold(text), folded, "{text:?}");
        }
    }

    #[test]
    fn every_character_folds_to_something_that_folds_to_itself() {
        for c in '\0'..=char::MAX {
            let once = fold(&format!("a{c}\u{323}\u{301}"));
            assert_eq!(fold(&once), once, "U+{:04X}", u32::from(c));
        }
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in any::<String>()) {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }

        #[test]
        fn letters_and_marks_in_any_order_fold_to_a_fixed_form(
            text in "[\u{300}-\u{345}\u{1d2c}-\u{1d6a}\u{391}-\u{3c9}\u{5d0}-\u{5f4}\u{610}-\u{670}\u{93c}-\u{94d}\u{1f00}-\u{1fff}\u{3041}-\u{309f}\u{ac00}\u{1100}-\u{11ff}\u{2126}-\u{212b}ßſİıǅ]{0,24}"
        ) {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }
}
