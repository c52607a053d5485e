//! What the page says. Each language fills the same structure, so that a text which one of them lacks does not compile.

use super::format::number;
use super::language::Language;
use words_en::ENGLISH;
use words_fr::FRENCH;

#[path = "words_en.rs"]
mod words_en;
#[path = "words_fr.rs"]
mod words_fr;

/// A text with a count in it, in the place of `#`.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// With the singular.
    pub one: &'static str,
    /// With the plural.
    pub other: &'static str,
}

macro_rules! words {
    ($($section:ident { $($name:ident),+ $(,)? })+) => {
        /// All texts of the page in one language.
        #[allow(missing_docs, reason = "each text documents itself")]
        #[derive(Debug)]
        pub struct Words {
            pub language: Language,
            pub not_synced: Counted,
            pub downloads: Counted,
            pub found: Counted,
            pub found_at_least: Counted,
            pub downloads_of: Counted,
            pub bytes: Counted,
            $($(pub $name: &'static str,)+)+
        }

        impl Words {
            /// Each text, for what must hold of all.
            #[cfg(test)]
            fn each(&self) -> Vec<(&'static str, &'static str)> {
                let mut all = vec![$($((stringify!($name), self.$name),)+)+];
                for counted in [self.not_synced, self.downloads, self.found, self.found_at_least, self.downloads_of, self.bytes] {
                    all.extend([("one", counted.one), ("other", counted.other)]);
                }
                all
            }
        }
    };
}

words! {
    frame { product, skip, main_navigation, nav_files, nav_links, log_out, logged_in_as, tree, times_utc, times_local, close }
    home { home_title, home_empty, home_empty_hint, files_header, size, never_synced }
    folder_states { starting, syncing, in_sync, degraded, suspended }
    listing { name, modified, state, last_sync, all_folders, breadcrumbs, sort_by, more, loading, first_page,
        empty_directory, empty_directory_hint, share, share_of }
    search { search, search_in, search_everywhere, nothing_yet, further, nothing_found, nothing_found_hint, clear_search, results_for }
    file_states { synced, failed, deleting, kept, failed_hint, deleting_hint, kept_hint }
    file { download, open, open_hint, preview, preview_of, preview_failed, no_preview, no_preview_hint, details, location, created, synced_at, md5,
        exact_size }
    create { create_title, create_hint, valid_for, uses, unlimited, version, version_latest, version_pinned, create, created_title, created_hint,
        link, copy, copied, copy_by_hand, no_right_to_link, not_now, wrong_uses, wrong_link }
    links { links_title, links_hint, links_empty, links_empty_hint, links_of_file, expires, expired, revoked, used_up, file_gone, active, last_used, revoke,
        revoke_question, revoke_hint, cancel, created_by, all_links, all_links_hint, revoked_now, pinned }
    login { login_title, login_hint, token, log_in, wrong_token, too_many, logged_out, session_ended }
    errors { not_found, not_found_hint, forbidden, forbidden_hint, gone, gone_hint, unavailable, unavailable_hint, wrong, wrong_hint, broken, broken_hint, stale_form, stale_form_hint,
        back_home, try_again, conflict, misdirected_hint }
    recipients { link_unknown, link_unknown_hint, link_expired, link_expired_hint, link_revoked, link_revoked_hint, link_used_up, link_used_up_hint, link_gone,
        link_gone_hint, link_not_ready, link_not_ready_hint, link_unavailable_hint }
}

impl Words {
    /// Those of a language.
    pub const fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::French => &FRENCH,
        }
    }

    /// A text with its count.
    pub fn count(&self, text: &Counted, n: u64) -> String {
        let text = if self.language.is_one(n) { text.one } else { text.other };
        text.replace('#', &number(self.language, n))
    }

    /// A text with something in the place of `#`.
    pub fn with(&self, text: &str, what: impl std::fmt::Display) -> String {
        text.replace('#', &what.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_there_and_has_its_place_for_what_it_names() {
        for ((name, english), (_, french)) in ENGLISH.each().into_iter().zip(FRENCH.each()) {
            assert!(!english.is_empty() && !french.is_empty(), "{name}");
            assert_eq!(english.matches('#').count(), french.matches('#').count(), "{name}: {english} / {french}");
            assert!(!french.contains('\'') && !english.contains('\''), "{name}: an apostrophe is ’");
        }
    }

    #[test]
    fn french_puts_no_break_before_its_punctuation() {
        for (name, text) in FRENCH.each() {
            for mark in [" ?", " !", " :", " ;", " »", "« "] {
                assert!(!text.contains(mark), "{name}: {text}");
            }
        }
    }

    #[test]
    fn each_text_is_said_somewhere() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/urls/web");
        let mut all = String::new();
        for directory in ["", "pages", "templates"] {
            for entry in std::fs::read_dir(root.join(directory)).unwrap() {
                let path = entry.unwrap().path();
                let is_words = path.file_name().unwrap().to_string_lossy().starts_with("words");
                if path.is_file() && !is_words {
                    all += &std::fs::read_to_string(path).unwrap();
                }
            }
        }
        for (name, _) in ENGLISH.each() {
            let said = all.match_indices(&format!("w.{name}")).any(|(at, found)| {
                !all[at + found.len()..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_')
            });
            assert!(said || ["one", "other"].contains(&name), "nothing says `{name}`");
        }
    }

    #[test]
    fn counts_agree_with_their_nouns() {
        let (en, fr) = (Words::of(Language::English), Words::of(Language::French));
        assert_eq!([0, 1, 2].map(|n| en.count(&en.found, n)), ["0 files found", "1 file found", "2 files found"]);
        assert_eq!(
            [0, 1, 2].map(|n| fr.count(&fr.found, n)),
            ["0 fichier trouvé", "1 fichier trouvé", "2 fichiers trouvés"]
        );
    }
}
