//! How many supernodes the network has and wants, in plain words.

use crate::api::types::OutlookStatus;
use skein_overlay::SupernodeSnapshot;
use skein_overlay::election::outlook::Outlook;

/// How a supernode sees the demand.
pub(super) fn status(supernode: &SupernodeSnapshot) -> OutlookStatus {
    let outlook = &supernode.outlook;
    OutlookStatus {
        supernodes: outlook.supernodes,
        wanted: outlook.wanted,
        fill_percent: whole(outlook.fill * 100.0),
        missing: whole(outlook.shortfall),
        spare: whole(outlook.surplus),
        urgent: outlook.is_urgent,
        candidates_ready: supernode.candidates_ready,
        words: words(outlook, supernode.candidates_ready),
    }
}

/// Cut to the range.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: f64) -> u32 {
    number.round() as u32
}

fn words(outlook: &Outlook, ready: u32) -> String {
    if outlook.supernodes == 0 {
        return "the supernodes have not been counted yet".to_owned();
    }
    let fill = whole(outlook.fill * 100.0);
    let present = match outlook.supernodes {
        1 => format!("the only supernode, {fill} % full"),
        many => format!("{many} supernodes, {fill} % full together"),
    };
    let missing = whole(outlook.shortfall);
    if missing > 0 {
        let haste = if outlook.is_urgent { " as soon as can be" } else { "" };
        let from = match ready {
            0 => "no child here is ready for it".to_owned(),
            1 => "one child here is ready for it".to_owned(),
            many => format!("{many} children here are ready for it"),
        };
        return format!("{present}: {missing} more wanted{haste}; {from}");
    }
    match whole(outlook.surplus) {
        0 => format!("{present}: enough ({} are needed)", outlook.wanted),
        1 => format!("{present}: one may step down"),
        spare => format!("{present}: {spare} may step down"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook(supernodes: u32, fill: f64, shortfall: f64) -> Outlook {
        Outlook { supernodes, fill, shortfall, wanted: 3, ..Outlook::default() }
    }

    #[test]
    fn people_are_told_what_is_missing_and_who_could_do_it() {
        let enough = words(&outlook(4, 0.52, 0.0), 2);
        assert_eq!(enough, "4 supernodes, 52 % full together: enough (3 are needed)");
        let urgent = Outlook { is_urgent: true, ..outlook(1, 0.9, 2.0) };
        let text = words(&urgent, 0);
        assert!(text.starts_with("the only supernode, 90 % full: 2 more wanted as soon"), "{text}");
        assert!(text.ends_with("no child here is ready for it"), "{text}");
        let spare = Outlook { surplus: 5.0, ..outlook(40, 0.3, 0.0) };
        assert!(words(&spare, 2).ends_with("5 may step down"));
        assert_eq!(words(&Outlook::default(), 0), "the supernodes have not been counted yet");
    }
}
