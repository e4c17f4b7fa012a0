//! What happened, in numbers. Each limit of the overlay has its counter here.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Every counter with its name, for metrics.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Searches of children that were answered.
    searches_answered,
    /// Searches of children that were over their budget.
    searches_over_budget,
    /// Searches of children whose name had used up its budget, here or elsewhere.
    names_over_budget,
    /// Times that those who keep a name's budget did not say in time what is left, so that the name was
    /// granted what its budget gains meanwhile.
    keepers_late,
    /// Reports of what a name has used that were not believed.
    spend_reports_refused,
    /// Queries of neighbours that were answered.
    floods_answered,
    /// Those of them that the own routing table excludes, so that the index was not searched.
    floods_excluded,
    /// Queries that whoever asks has asked as often as it may.
    floods_duplicate,
    /// Queries that had been answered before and were taken further.
    floods_widened,
    /// Queries of neighbours that were over their budget.
    floods_over_budget,
    /// Neighbours that were not asked to look around since they see nobody new.
    looks_spared,
    /// Supernodes said to be covered that only one neighbour has heard of, and nobody knows.
    covered_made_up,
    /// Queries sent on to neighbours.
    floods_forwarded,
    /// Queries of neighbours that were answered but not passed on, so that there is room for those
    /// of children.
    relays_over_budget,
    /// Messages about this supernode's own routing table sent to neighbours.
    tables_sent,
    /// Messages about neighbours' routing tables taken in.
    tables_taken,
    /// Neighbours' routing tables dropped: against the rules, too often, without use, or without
    /// room for them.
    tables_refused,
    /// Looks at a neighbour's table that excluded it, so that it was not asked.
    table_excluded,
    /// Neighbours that looked in their index since their table did not exclude them.
    table_asks,
    /// Of those, neighbours that had nothing: false positives, and words that are there, but not in
    /// one record. With those that were excluded they are all looks at tables of neighbours that have
    /// nothing: this share of them is the rate of false positives, or somewhat more.
    table_misses,
    /// Queries that could not be followed since too many were under way.
    branches_over_limit,
    /// Branches of a query that did not end in time.
    branches_timed_out,
    /// Queries refused since too many searches of the index were under way.
    look_ups_over_limit,
    /// Queries whose asker was gone that were left to their deadlines, since too many were called off.
    calls_off_over_limit,
    /// Searches of the index that took too long to be waited for.
    look_ups_timed_out,
    /// Answers of the index that nobody waited for any more.
    look_ups_unasked,
    /// Hits passed back.
    hits_passed,
    /// Hits dropped since enough had come.
    hits_over_wanted,
    /// Hits left out at the end of a search: others of the same name are held by far more.
    hits_decoys,
    /// Searches answered from what others said to the same a moment ago.
    cache_hits,
    /// Searches that others had to be asked for.
    cache_misses,
    /// Hits that nobody had asked for, or that do not match what was asked for.
    hits_unasked,
    /// Hits whose owner's credential did not hold.
    hits_forged,
    /// Searches of this node's own user that were not begun since too many were under way.
    searches_over_limit,
    /// Greetings, probes, wishes for a bond and lists of supernodes that came too fast.
    requests_over_budget,
    /// Bonds with children agreed on, changed ones and standbys included.
    children_taken,
    /// Children refused since there was no room, for them or for what they share.
    children_refused_full,
    /// Nodes refused for want of room that do not count as such in what is reckoned of demand, since
    /// too many others do.
    children_waiting_over_limit,
    /// Children refused since too many came at once.
    children_refused_busy,
    /// Children refused for want of a valid credential.
    children_refused_credential,
    /// Children sent away since their credential ran out.
    children_expired,
    /// Children whose link was lost.
    children_lost,
    /// Children that have moved whose records were forgotten early, for want of room.
    departed_over_limit,
    /// Records taken into the index.
    records_taken,
    /// Records refused since the owner's quota was full.
    records_over_quota,
    /// Records refused since their owner published more and more anew.
    records_over_budget,
    /// Wishes of children, and of this node's own user, taken in and spread.
    wishes_taken,
    /// Wishes of children that were against the rules, too many or too fast.
    wishes_refused,
    /// Wishes of children that were known already: each is said again, in case it was refused.
    wishes_repeated,
    /// Wishes of this node's own user that ask for everything, or are one too many.
    wishes_over_limit,
    /// Wishes that what was here already was not held against, since too many came at once.
    wish_looks_over_limit,
    /// Hits of wishes that the user was told of.
    wish_hits,
    /// Hits of wishes that were pushed a moment ago, or that the user had been told of before.
    wish_hits_repeated,
    /// Hits of wishes that nobody has, or from somebody who has no business to send them.
    wish_hits_unasked,
    /// Hits that were not pushed since their wish had too many lately.
    wish_hits_over_budget,
    /// Hits whose wisher could not be found.
    wish_hits_undelivered,
    /// Neighbours linked.
    neighbours_linked,
    /// Neighbours refused since there was no room.
    neighbours_refused,
    /// Supernodes that did not answer, or not as a neighbour should, and are tried again too soon since
    /// too many others are left alone for a while.
    neighbours_avoided_over_limit,
    /// Neighbours given up for others, so that searches see other parts of the network.
    neighbours_reshuffled,
    /// Neighbours lost, for whatever reason.
    neighbours_lost,
    /// Neighbours let go since they answered nothing.
    neighbours_timed_out,
    /// Neighbours, parents and standbys let go since their credential ran out.
    ties_expired,
    /// Parents lost, for whatever reason.
    parents_lost,
    /// Parents left for others that agreed before.
    parents_moved,
    /// Parents that were kept since the one that they named was much fuller than they had thought.
    moves_spared,
    /// Parents left since they took nothing in.
    parents_timed_out,
    /// Links hung up since too many were open.
    links_over_limit,
    /// Links hung up since nobody had a use for them.
    links_idle,
    /// Links hung up since the other side broke a rule.
    links_misbehaved,
    /// Credentials shown that did not hold.
    credentials_refused,
    /// Vouchers signed for children, standby children and neighbours.
    vouchers_signed,
    /// Vouchers that were not signed since the clock had been set back.
    vouchers_withheld,
    /// Names that were not vouched for since the totals of too many were kept that day.
    vouching_over_limit,
    /// Receipts signed for uploaders.
    receipts_signed,
    /// Uploaders that got no receipt since too many were dealt with that day.
    receipts_over_limit,
    /// Receipts of downloaders taken in.
    receipts_taken,
    /// Statements about this node that are worth keeping.
    evidence_kept,
    /// Statements that were not sound, or not about whom they should be.
    evidence_refused,
    /// Statements of others dropped since there was no room for them.
    evidence_over_limit,
    /// Offences of others that were proven.
    offences_proven,
    /// Accusations that proved nothing.
    accusations_refused,
    /// Messages to supernodes that were not linked, dropped since too many waited for a link.
    courier_over_limit,
    /// News about supernodes taken in and passed on.
    rumours_taken,
    /// News that were known already, or too old.
    rumours_old,
    /// News that were refused: from the future, too fast, over a limit, or from a witness that is
    /// not believed.
    rumours_refused,
    /// News whose signatures did not hold.
    rumours_forged,
    /// Messages of the epidemic from others than neighbours.
    gossip_unasked,
    /// Messages of the epidemic that came too fast.
    gossip_over_budget,
    /// News that were not passed on, or not asked for, since too many waited.
    gossip_over_limit,
    /// Supernodes not taken in since too many are known, or their name owns too many.
    members_over_limit,
    /// Supernodes taken for dead.
    members_dead,
    /// Suspicions that this node told.
    suspicions_told,
    /// Suspicions that were not believed.
    suspicions_refused,
    /// Suspicions that a fresher word of the supernode has refuted.
    suspicions_refuted,
    /// Records of the directory that were taken in.
    directory_taken,
    /// Records that were as old as what was kept, or older.
    directory_stale,
    /// Records that were not signed by whom they must be.
    directory_forged,
    /// Records that had expired, were from the future, or wanted to live too long.
    directory_refused_untimely,
    /// Records put here whose keys belong to others.
    directory_refused_foreign,
    /// Sources of a content that has as many as are kept.
    directory_refused_crowded,
    /// Records refused since the table, or the owner's share of it, was full.
    directory_refused_full,
    /// Records that expired.
    directory_ended,
    /// Records let go since others keep them now.
    directory_let_go,
    /// Records sent to supernodes that an arc has come to belong to.
    directory_records_moved,
    /// Arcs whose records have come.
    directory_arcs_taken,
    /// Questions for an arc that were not answered.
    directory_arcs_unanswered,
    /// Messages with records sent to their holders.
    directory_puts_sent,
    /// Messages with records that could not be delivered.
    directory_puts_lost,
    /// Records that were not sent since too many waited.
    directory_puts_over_limit,
    /// Downloads that were not announced as sources since too many were.
    directory_partial_over_limit,
    /// Changes of what this node shares that were not kept until they could be said, since too many
    /// were: files that came are said by a walk through all of them, those that went are left to
    /// expire.
    directory_changes_over_limit,
    /// Times that the whole arc was asked for since too many parts of it were being asked for.
    directory_pulls_over_limit,
    /// Look-ups begun here, for this node's user or a child.
    directory_lookups,
    /// Look-ups that found something with the first holder that was asked.
    directory_first_try,
    /// Holders that did not answer a look-up in time.
    directory_unanswered,
    /// Answers that pointed to others.
    directory_redirected,
    /// Look-ups that found nothing, or no node that is there.
    directory_found_nothing,
    /// Look-ups of other supernodes answered.
    directory_answered,
    /// Answers that nobody waited for.
    directory_answers_unasked,
    /// Look-ups that were not begun since too many were under way.
    directory_finds_over_limit,
    /// Look-ups of children that were not begun since their name had its share of those under way.
    directory_finds_over_share,
    /// Messages of the directory from peers that caused too much work.
    directory_over_budget,
    /// Dial-backs that others were asked for.
    dial_backs_asked,
    /// Dial-backs made, for others and for this node.
    dial_backs_made,
    /// Dial-backs that were asked of this node and refused: over a limit, or not allowed.
    dial_backs_refused,
    /// Neighbours that were not looked for though they asked for it, since they or all together ask
    /// too often.
    own_checks_over_limit,
    /// Children asked to become supernodes.
    invitations_sent,
    /// Children that declined.
    invitations_declined,
    /// Children that were asked to become supernodes, did not decline, and did not become any in time.
    invitations_not_followed,
    /// Names of such children that were forgotten early, since there were too many.
    absent_over_limit,
    /// Times that this node stepped down since it had been asked to be a supernode for no reason.
    invitations_unfounded,
    /// Times that this node came back as a supernode, had been replaced meanwhile, and stepped down.
    returns_unneeded,
    /// Times that a supernode was wanted and no child was fit.
    invitations_without_candidate,
    /// Times that this node became a supernode since another one asked.
    promotions,
    /// Times that this node stepped down by itself.
    demotions,
    /// Children asked to move to another supernode.
    children_redirected,
    /// Slots of this node's relay that were granted.
    slots_granted,
    /// Slots that were refused.
    slots_refused,
    /// Slots that were not asked for since too many questions were open.
    slots_over_limit,
    /// Offers of sessions for this node's user.
    session_offers_taken,
    /// Offers sent on towards the callee.
    session_offers_passed,
    /// Offers refused here, for whatever reason.
    session_offers_refused,
    /// Offers that were forged, expired or without a valid credential.
    session_offers_unsound,
    /// Offers refused since the name has made too many.
    session_offers_over_budget,
    /// Offers refused since too many were on their way, and no name had clearly more than theirs.
    session_offers_over_limit,
    /// Offers on their way that were given up for those of names with fewer.
    session_offers_displaced,
    /// Answers, refusals and slots that nobody waited for.
    session_messages_unasked,
    /// Supernodes that were not remembered since the cache was full.
    known_over_limit,
}
