//! A little drawing of the network.

use crate::ui::paint::Paint;

/// A supernode with those that are attached to it, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The supernode.
    pub supernode: String,
    /// Its children.
    pub children: Vec<String>,
}

/// The login service above, the supernodes linked below it, their children hanging from them.
/// `highlighted` is the node that the story is about.
pub fn network(branches: &[Branch], highlighted: &str, paint: Paint) -> String {
    let names =
        branches.iter().flat_map(|branch| branch.children.iter().chain([&branch.supernode]));
    // Two characters in front of each name, six between two columns.
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0) + 8;
    let whole = width * branches.len();

    let title = "login service";
    let indent = (whole.saturating_sub(title.len() + 5)) / 2;
    let mut lines = vec![format!("{}{}", " ".repeat(indent), paint.faint(format!("○ {title}")))];

    let mut row = String::new();
    for (at, branch) in branches.iter().enumerate() {
        let is_last = at + 1 == branches.len();
        let used = branch.supernode.chars().count() + 3;
        let link = if is_last { 0 } else { width.saturating_sub(used + 1) };
        row.push_str(&format!("{} {}", paint.good("◆"), paint.strong(&branch.supernode)));
        if !is_last {
            row.push_str(&format!(" {} ", paint.good("═".repeat(link))));
        }
    }
    lines.push(row);

    let depth = branches.iter().map(|branch| branch.children.len()).max().unwrap_or(0);
    for level in 0..depth {
        let mut row = String::new();
        for branch in branches {
            let Some(child) = branch.children.get(level) else {
                row.push_str(&" ".repeat(width));
                continue;
            };
            let is_last = level + 1 == branch.children.len();
            let twig = if is_last { "└ " } else { "├ " };
            let name = if child == highlighted { paint.key(child) } else { paint.name(child) };
            let pad = width.saturating_sub(child.chars().count() + 2);
            row.push_str(&format!("{}{name}{}", paint.faint(twig), " ".repeat(pad)));
        }
        lines.push(row.trim_end().to_owned());
    }
    lines.iter().map(|line| format!("     {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(supernode: &str, children: &[&str]) -> Branch {
        Branch {
            supernode: supernode.to_owned(),
            children: children.iter().map(|&child| child.to_owned()).collect(),
        }
    }

    #[test]
    fn children_hang_below_their_supernode() {
        let branches = [branch("goose", &["ash", "elm"]), branch("swan", &["oak"])];
        let text = network(&branches, "oak", Paint::PLAIN);
        let lines: Vec<&str> = text.lines().map(|line| &line[5..]).collect();
        assert_eq!(
            lines,
            ["    ○ login service", "◆ goose ════ ◆ swan", "├ ash        └ oak", "└ elm"]
        );
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let branches = [branch("goose", &["ash", "elm"]), branch("swan", &[])];
        let painted = network(&branches, "ash", Paint::COLOR);
        assert_eq!(console::strip_ansi_codes(&painted), network(&branches, "ash", Paint::PLAIN));
    }
}
