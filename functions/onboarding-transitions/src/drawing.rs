//! The table as a drawing, made from the code: `ARCHITECTURE.md` holds it, and a test keeps the two equal.

use std::fmt::Write as _;

use crate::table::{Effect, Signal, Standing, Verdict, transition};

/// The table as a Mermaid state diagram. What every state but one has in common is told in a note.
#[must_use]
pub fn drawing() -> String {
    let mut drawn = String::from("stateDiagram-v2\n");
    let name = |standing: Option<Standing>| {
        standing.map_or_else(|| "[*]".to_owned(), |standing| standing.to_string().replace([' ', '(', ')'], ""))
    };
    for standing in [Standing::EngagedSoft, Standing::EngagedHard] {
        let _ = writeln!(drawn, "    {}: {standing}", name(Some(standing)));
    }
    for from in std::iter::once(None).chain(Standing::ALL.into_iter().map(Some)) {
        for on in Signal::ALL {
            let (first, second) = (transition(from, on, false), transition(from, on, true));
            let mut cases = vec![(first, "")];
            if first != second {
                cases = vec![(first, " (first)"), (second, " (nudged before)")];
            }
            for (verdict, when) in cases {
                let Verdict::Moves(to, effects) = verdict else { continue };
                // From everywhere: told below.
                if from.is_some() && matches!(on, Signal::Booked | Signal::Completed) {
                    continue;
                }
                let effects: Vec<String> = effects.iter().copied().map(Effect::name).collect();
                let effects = if effects.is_empty() { String::new() } else { format!(" / {}", effects.join(", ")) };
                let _ = writeln!(drawn, "    {} --> {}: {}{when}{effects}", name(from), name(Some(to)), on.name());
            }
        }
    }
    for on in [Signal::Booked, Signal::Completed] {
        if let Verdict::Moves(to, effects) = transition(Some(Standing::New), on, false) {
            let effects: Vec<String> = effects.iter().copied().map(Effect::name).collect();
            let _ = writeln!(
                drawn,
                "    note left of {to}: from any state but onboarded, on {} / {}",
                on.name(),
                effects.join(", ")
            );
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_drawing_says_of_any_state_is_so_for_every_state_but_onboarded() {
        for standing in Standing::ALL.into_iter().filter(|standing| *standing != Standing::Onboarded) {
            for (on, to) in [(Signal::Booked, Standing::KickoffBooked), (Signal::Completed, Standing::Onboarded)] {
                let of_new = transition(Some(Standing::New), on, false);
                assert_eq!(transition(Some(standing), on, true), of_new, "{standing}");
                assert!(matches!(of_new, Verdict::Moves(reached, _) if reached == to));
            }
        }
    }

    #[test]
    fn architecture_shows_the_table_as_the_code_has_it() {
        let architecture = include_str!("../../../ARCHITECTURE.md");
        let drawn = drawing();
        assert!(
            architecture.contains(&format!("```mermaid\n{drawn}```")),
            "ARCHITECTURE.md shows another table; it should hold\n\n```mermaid\n{drawn}```"
        );
    }
}
