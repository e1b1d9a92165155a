// Written by `stream-coupons schemas write` from the message types.

/** A shopper looked at an item. */
export interface BrowseEvent {
  /** Identifies the event: send the same id when you send it again. */
  "event_id": string;
  /** Identifies the shopper, and is the record's key. Send a pseudonym. */
  "user_id": string;
  /** Time of the event; UTC epoch seconds. */
  "occurred_at": number;
  /** Version of the message; another one is refused. */
  "schema_version"?: 1;
  /** Selects the coupons and the model: the `domain` of coupons in the catalogue. */
  "domain"?: string;
  /** The item that was browsed; absent for the shop as a whole. */
  "item"?: Item | null;
  /** Anything else known at that moment: channel, device, weather. */
  "context"?: { [name: string]: string | number | boolean | null };
}

/** A budget and a time shared by the coupons that name it as their `campaign_id`. */
export interface Campaign {
  /** Identifies the campaign, and is the key of its record. */
  "campaign_id": string;
  /** Its name for people. */
  "title"?: string;
  /** Start of the time in which its coupons may be issued; UTC epoch seconds. */
  "starts_at"?: number;
  /** End of the time in which its coupons may be issued; UTC epoch seconds. */
  "ends_at"?: number;
  /** The most money held and spent on all of its coupons; absent for no limit. */
  "budget_minor"?: number | null;
  /** Target of the spending between `starts_at` and `ends_at`; without an end, none. */
  "budget_curve"?: "by_traffic" | "even" | "front_loaded" | "none";
  /** Money that an open coupon holds: `maximum` never overspends, `quantile` at most by `max_overspend_ratio`. */
  "budget_hold"?: "maximum" | "quantile";
  /** Spending beyond `budget_minor` if every open coupon took the most that it can, as a share of the budget, at most. The larger, the more coupons are open at a time. No effect where `budget_hold` is `maximum`. */
  "max_overspend_ratio"?: number;
  /** A rule in CEL that must be true for each of its coupons, beside their own. */
  "eligible_if"?: string;
  /** Days on the shopper's calendar on which its coupons may be issued; empty for all. */
  "weekdays"?: ("fri" | "mon" | "sat" | "sun" | "thu" | "tue" | "wed")[];
  /** Hour on the shopper's clock from which its coupons may be issued; equal to `until_hour` for all day. */
  "from_hour"?: number;
  /** Hour until which its coupons may be issued. */
  "until_hour"?: number;
  /** The most issues of all of its coupons to one shopper, by calendar period; empty for no limit. */
  "caps"?: (Cap)[];
  /** Share of the shoppers who get none of its coupons, drawn by the secret, to measure what it earns. Who is left out stays so when the share is raised. */
  "holdout_ratio"?: number;
  /** Bounds of its measured results: the first one that is passed stops the campaign. */
  "guardrails"?: (Guardrail)[];
  /** State of its life. Coupons are issued while it is `running`, or `ramp`: to some shoppers. While it is `staged`, decisions record which of its coupons they would have given. */
  "state"?: "approved" | "archived" | "draft" | "ended" | "held" | "paused" | "ramp" | "running" | "staged";
  /** Share of the shoppers who may get its coupons while its state is `ramp`; those of 5 % are among those of 25 %. */
  "ramp_ratio"?: number;
  /** Approvals, where `approval.required` asks for some. `campaigns approve` adds one. */
  "signatures"?: (Signature)[];
}

/** The most coupons of one shopper in each period. */
export interface Cap {
  /** Period in which coupons are counted; it begins at midnight in the shop's time zone, and a week on Monday. */
  "per": "day" | "life" | "month" | "week";
  /** The most coupons in one period. */
  "n": number;
}

/** A shopper put an item into the cart, or took it out. */
export interface CartEvent {
  /** Identifies the event: send the same id when you send it again. */
  "event_id": string;
  /** Identifies the shopper, and is the record's key. Send a pseudonym. */
  "user_id": string;
  /** Time of the event; UTC epoch seconds. */
  "occurred_at": number;
  /** Version of the message; another one is refused. */
  "schema_version"?: 1;
  /** Selects the coupons and the model: the `domain` of coupons in the catalogue. */
  "domain"?: string;
  /** The item that was put in or taken out. */
  "item": Item;
  /** `add` or `remove`. */
  "action"?: "add" | "remove";
  /** Anything else known at that moment. */
  "context"?: { [name: string]: string | number | boolean | null };
}

/** Codes that were imported for a coupon, or codes that are revoked. */
export interface CodeBlock {
  /** The coupon, and the key of its record. */
  "coupon_id": string;
  /** Number of the first code in the coupon's pool, from 0 on. Absent: the revoked code was generated. */
  "first"?: number | null;
  /** Digest of all codes that were imported before, of any coupon; absent: none was. Codes that another import has overtaken count for nothing, and are imported again. */
  "after"?: string;
  /** The codes, in the order of their numbers. */
  "codes": (string)[];
  /** True: these codes must not be given or accepted any more. */
  "revoked"?: boolean;
}

/** A coupon of the catalogue: its scope, its discount and its limits. */
export interface Coupon {
  /** Categories that it may be used on; empty for any. */
  "categories"?: (string)[];
  /** Brands that it may be used on; empty for any. */
  "brands"?: (string)[];
  /** Items that it may be used on; empty for any. */
  "items"?: (string)[];
  /** Percentage off the items in the scope. */
  "discount_percent"?: number | null;
  /** Amount off the items in the scope. */
  "discount_minor"?: number | null;
  /** Delivery is free: its usual cost to the shop. Feedback reports the actual one as `discount_minor`. */
  "free_delivery_minor"?: number | null;
  /** An item that is given with the order. */
  "gift_item"?: string | null;
  /** Cost of `gift_item` to the shop; money in minor units (cents), written as a whole number: 899, not 899.0. */
  "gift_cost_minor"?: number;
  /** Pieces to buy for `get_pieces` further ones, of the cheapest, at `get_percent` off. */
  "buy_pieces"?: number | null;
  /** Pieces that are cheaper once `buy_pieces` are bought. */
  "get_pieces"?: number;
  /** Percentage off `get_pieces`: 100 for free. */
  "get_percent"?: number;
  /** The most that one redemption can cost; what one redemption can cost at most. */
  "max_discount_minor": number;
  /** Value of the order's items in the scope from which on the coupon may be used; absent for any. */
  "min_spend_minor"?: number | null;
  /** Pieces in the scope from which on the coupon may be used; absent for any. */
  "min_pieces"?: number | null;
  /** Identifies the coupon, and is the key of its record. */
  "coupon_id": string;
  /** Selects the events that may lead to the coupon, and the model that scores it. */
  "domain"?: string;
  /** The campaign whose budget and time it shares; while the campaign is unknown, the coupon is not issued. */
  "campaign_id"?: string | null;
  /** Its name for people; repeated in its issues. */
  "title"?: string;
  /** Free label, such as `percent`. */
  "kind"?: string;
  /** Typical order value within its scope; absent, `policy.typical_price_minor`. */
  "typical_price_minor"?: number | null;
  /** Margin on an order within its scope, before the discount. */
  "margin_ratio"?: number;
  /** Start of the time in which it may be issued; UTC epoch seconds. */
  "valid_from"?: number;
  /** End of the time in which it may be issued; UTC epoch seconds. */
  "valid_until"?: number;
  /** Time from issue to expiry, in seconds; models learn the outcome when it is over. */
  "redeem_within_s"?: number;
  /** The most that are ever issued; absent for no limit. */
  "stock"?: number | null;
  /** The most money held and spent on this coupon; unused coupons return theirs. Absent for no limit of its own. */
  "budget_minor"?: number | null;
  /** Target use of `stock` and `budget_minor` from `valid_from` to `valid_until`; without an end, none. */
  "budget_curve"?: "by_traffic" | "even" | "front_loaded" | "none";
  /** Money that an open coupon holds: `maximum` never overspends, `quantile` at most by `max_overspend_ratio`. */
  "budget_hold"?: "maximum" | "quantile";
  /** Spending beyond `budget_minor` if every open coupon took the most that it can, as a share of the budget, at most. The larger, the more coupons are open at a time. No effect where `budget_hold` is `maximum`. */
  "max_overspend_ratio"?: number;
  /** The most issues of it to one shopper, by calendar period; empty for no limit. */
  "caps"?: (Cap)[];
  /** Coupons that keep it from a shopper who holds one of them and has not used it yet. */
  "not_while_held"?: "none" | "overlapping" | "same";
  /** A rule in CEL over fields of shopper, trigger and coupon, which must be true; empty for everybody. */
  "eligible_if"?: string;
  /** Days on the shopper's calendar on which it may be issued; empty for all. */
  "weekdays"?: ("fri" | "mon" | "sat" | "sun" | "thu" | "tue" | "wed")[];
  /** Hour on the shopper's clock from which it may be issued; equal to `until_hour` for all day. */
  "from_hour"?: number;
  /** Hour until which it may be issued. From 22 until 2 passes midnight: the weekday then changes, too. */
  "until_hour"?: number;
  /** Channels in which it may be issued: the `channel` of a trigger's context is one of them; empty for any. */
  "channels"?: (string)[];
  /** Group of coupons, in all domains, of which a shopper holds at most one at a time; empty for none. */
  "exclusion_group"?: string;
  /** Among the coupons that are worth giving, one of the highest priority is given, and of these the most valuable. Exploration, and a policy from another package, draw whatever the priority. */
  "priority"?: number;
  /** Source of the code that each issue carries. */
  "codes"?: "generated" | "none" | "pool";
  /** Name of the coupon before a generated code: capitals and digits. */
  "code_prefix"?: string;
  /** True: none are issued for now. */
  "paused"?: boolean;
  /** Further facts about the coupon; the first 12 names of a domain become features. */
  "attributes"?: { [name: string]: string | number | boolean | null };
  /** A text for people, and for what computes the vector. */
  "description"?: string;
  /** Embedding of its content by any text or image model, the same model for all coupons of a domain. */
  "vector"?: (number)[] | null;
}

/** THE OUTPUT: give this shopper this coupon. Deduplicate on `issue_id`. */
export interface CouponIssue {
  /** Categories that it may be used on; empty for any. */
  "categories"?: (string)[];
  /** Brands that it may be used on; empty for any. */
  "brands"?: (string)[];
  /** Items that it may be used on; empty for any. */
  "items"?: (string)[];
  /** Percentage off the items in the scope. */
  "discount_percent"?: number | null;
  /** Amount off the items in the scope. */
  "discount_minor"?: number | null;
  /** Delivery is free: its usual cost to the shop. Feedback reports the actual one as `discount_minor`. */
  "free_delivery_minor"?: number | null;
  /** An item that is given with the order. */
  "gift_item"?: string | null;
  /** Cost of `gift_item` to the shop; money in minor units (cents), written as a whole number: 899, not 899.0. */
  "gift_cost_minor"?: number;
  /** Pieces to buy for `get_pieces` further ones, of the cheapest, at `get_percent` off. */
  "buy_pieces"?: number | null;
  /** Pieces that are cheaper once `buy_pieces` are bought. */
  "get_pieces"?: number;
  /** Percentage off `get_pieces`: 100 for free. */
  "get_percent"?: number;
  /** The most that one redemption can cost; what one redemption can cost at most. */
  "max_discount_minor": number;
  /** Value of the order's items in the scope from which on the coupon may be used; absent for any. */
  "min_spend_minor"?: number | null;
  /** Pieces in the scope from which on the coupon may be used; absent for any. */
  "min_pieces"?: number | null;
  /** Identifies the issue: copies have the same id and the same bytes. */
  "issue_id": string;
  /** The shopper who gets the coupon: the record's key. */
  "user_id": string;
  /** The coupon of the catalogue. */
  "coupon_id": string;
  /** Domain of the coupon. */
  "domain": string;
  /** Time of the trigger; it may be as old as `policy.trigger_timeout_s`; UTC epoch seconds. */
  "issued_at": number;
  /** Time until which it can be used: `issued_at` plus the coupon's `redeem_within_s`; UTC epoch seconds. */
  "expires_at": number;
  /** The `event_id` that led to it. */
  "trigger_id": string;
  /** Version of the message. Stop at a greater one: any field may have another meaning. */
  "schema_version"?: 1;
  /** Title of the coupon. */
  "title"?: string;
  /** True if the scope is too long for a message: then it is that of the coupon in the catalogue. */
  "scope_in_catalogue"?: boolean;
  /** Currency of its money: that of the domain by `shop.currencies`. */
  "currency"?: string | null;
  /** Predicted probability of a click. */
  "p_click": number;
  /** Predicted probability that the coupon is used in its window. */
  "p_redeem": number;
  /** Predicted probability of an order in its scope without a coupon. */
  "p_order": number;
  /** Expected gain over giving none, in minor units of money. */
  "value_minor": number;
  /** Price of its expected cost by its budgets, in minor units; below its value unless it was explored. */
  "price_minor"?: number;
  /** The coupon's campaign. */
  "campaign_id"?: string | null;
  /** The code that the shopper shows at a till, if the coupon has codes. */
  "code"?: string | null;
  /** Money held for it. Less than `max_discount_minor` falls evenly to nothing while it can be used; money in minor units (cents), written as a whole number: 899, not 899.0. */
  "held_minor": number;
  /** Probability of giving this coupon, sold-out coupons left out. */
  "propensity": number;
  /** True if it was drawn by chance, whatever its value. */
  "is_explored"?: boolean;
  /** Version of the model snapshot that scored it. */
  "model_version": number;
  /** The features with the largest effect, strongest first: `policy.explain_top` of them. */
  "reasons"?: (Reason)[];
}

/** The headers of a record of dead-letters; its key and value are the refused record's, byte for byte. */
export interface DeadLetterHeaders {
  /** one code of a closed set: what was wrong */
  "reason": Rejection;
  /** what a person needs to mend the sender */
  "detail": string;
  /** where the record came in */
  "topic": string;
  /** partition of that topic */
  "partition": string;
  /** offset in that partition */
  "offset": string;
  /** the record's own, UTC epoch milliseconds; -1 if it had none */
  "timestamp": string;
  /** partition:offset of the letter it was before */
  "redriven"?: string;
  /** length of the record's key, if the letter is cut */
  "key-bytes"?: string;
  /** length of the record's value, if the letter is cut */
  "value-bytes"?: string;
  /** SHA-256 of topic, key and value in MessagePack, if the letter is cut */
  "digest"?: string;
}

/** A request to forget a shopper in all domains: their events up to `occurred_at` have no effect any more. */
export interface ErasureRequest {
  /** Identifies the event: send the same id when you send it again. */
  "event_id": string;
  /** Identifies the shopper, and is the record's key. Send a pseudonym. */
  "user_id": string;
  /** Time of the event; UTC epoch seconds. */
  "occurred_at": number;
  /** Version of the message; another one is refused. */
  "schema_version"?: 1;
  /** Selects the coupons and the model: the `domain` of coupons in the catalogue. */
  "domain"?: string;
}

/** Feedback of a shopper on a coupon that was issued to them. */
export interface FeedbackEvent {
  /** Identifies the event: send the same id when you send it again. */
  "event_id": string;
  /** Identifies the shopper, and is the record's key. Send a pseudonym. */
  "user_id": string;
  /** Time of the event; UTC epoch seconds. */
  "occurred_at": number;
  /** Version of the message; another one is refused. */
  "schema_version"?: 1;
  /** Selects the coupons and the model: the `domain` of coupons in the catalogue. */
  "domain"?: string;
  /** The issue that the feedback refers to. */
  "issue_id": string;
  /** Event: coupon seen, clicked, used in an order; that order returned, in part or whole, or cancelled; coupon no longer usable. */
  "kind": "cancel" | "click" | "expiry" | "impression" | "purchase" | "refund";
  /** The coupon of the issue; refused if it is another one. */
  "coupon_id"?: string | null;
  /** The code that the shopper showed; refused if the issue has another one. */
  "code"?: string | null;
  /** The order that the coupon was used in. Required for `purchase`, `refund` and `cancel`. */
  "order_id"?: string | null;
  /** Discount that the coupon has taken off this order in all. Absent in a purchase: the issue's `max_discount_minor`; in a refund: nothing. Of each order, the report with the latest `occurred_at` counts. */
  "discount_minor"?: number | null;
  /** Value of the order that the coupon was used in. */
  "order_value_minor"?: number | null;
  /** Currency of its money. Feedback in another currency than that of its issue's domain is refused. */
  "currency"?: string | null;
}

/** A bound of a campaign's measured results, beyond which the learner stops the campaign. */
export interface Guardrail {
  /** `lift`: margin over the campaign's holdout by shopper, minor units. `roi`: lift of all treated shoppers over discounts. `redemption_ratio`: coupons used over coupons given. `spend_a_day`: discounts reported on the shop's current day, minor units. */
  "metric": "lift" | "redemption_ratio" | "roi" | "spend_a_day";
  /** Lower bound of `lift` and `roi`, upper bound of `redemption_ratio` and `spend_a_day`. */
  "limit"?: number;
  /** The verb by which the campaign is stopped. */
  "action"?: "hold" | "pause";
}

/** One item that was browsed, put in a cart or ordered. */
export interface Item {
  /** Identifies the item in the shop. */
  "item_id": string;
  /** Category of the item, by the names that coupons use. */
  "category"?: string | null;
  /** Brand of the item, by the names that coupons use. */
  "brand"?: string | null;
  /** Price of one unit. */
  "price_minor"?: number | null;
  /** Quantity; fractions are allowed. */
  "quantity"?: number | null;
  /** Margin on the item before any discount, a share of its price. Reports on money use it; decisions do not. */
  "margin_ratio"?: number | null;
}

/** One decision on a trigger, whatever its result: the arms and the probability of each. */
export interface LoggedDecision {
  /** Identifies the decision; its coupon-issue, if there is one, has the same id. */
  "decision_id": string;
  /** The shopper: the record's key. */
  "user_id": string;
  /** Domain of the arms. */
  "domain": string;
  /** Time of the trigger; UTC epoch seconds. */
  "at": number;
  /** The `event_id` that led to it. */
  "trigger_id": string;
  /** Result: a coupon (`given`), or the reason why none was given. */
  "result": "control" | "given" | "holdout" | "lift_below_zero" | "not_worth_it";
  /** Version of the model that scored the arms. */
  "model_version": number;
  /** The coupon given, or `none`. */
  "coupon_id"?: string;
  /** Probability of the result, if it is known: of the coupon given, or of giving none because nothing was worth it. */
  "propensity"?: number | null;
  /** The coupons that could be given. */
  "arms": (string)[];
  /** Expected gain of each arm over giving none, in minor units of money. */
  "values_minor": (number)[];
  /** Price of each arm's expected cost by the budgets that it draws on, in minor units; empty: 0 for all. */
  "prices_minor"?: (number)[];
  /** Priority of each arm; empty: the same for all. */
  "priorities"?: (number)[];
  /** Index of the arm that is given without exploration; absent: no arm was worth it. */
  "best"?: number | null;
  /** Indices of the arms that exploration draws from; empty: all of them. */
  "tried"?: (number)[];
  /** Probability of exploration. */
  "exploration_ratio"?: number;
  /** Probability that chance withholds the arm that was chosen: the probabilities above hold for the choice. */
  "control_ratio"?: number;
  /** Probability of each arm, and last of none, if a policy from another package decides; else empty. */
  "shares"?: (number)[];
  /** Index of the arm that exploration drew, if it did. */
  "drawn"?: number | null;
  /** The coupons that were eligible, but had no stock or money left. */
  "sold_out"?: (string)[];
  /** True if the shopper belongs to the permanent control group. */
  "is_holdout"?: boolean;
  /** Share of all decisions that are recorded: `policy.decisions_logged_ratio`. */
  "logged_ratio"?: number;
  /** The coupon of a staged campaign that would have been given if the campaign was running: worth more than `best`. Absent where exploration or holdout decided. */
  "staged"?: StagedCoupon | null;
}

/** A coupon that another system gave: scored and learnt from, never issued again. */
export interface ObservedIssue {
  /** Identifies the event: send the same id when you send it again. */
  "event_id": string;
  /** Identifies the shopper, and is the record's key. Send a pseudonym. */
  "user_id": string;
  /** Time of the event; UTC epoch seconds. */
  "occurred_at": number;
  /** Version of the message; another one is refused. */
  "schema_version"?: 1;
  /** Selects the coupons and the model: the `domain` of coupons in the catalogue. */
  "domain"?: string;
  /** Identifies the issue in the other system; feedback names it. */
  "issue_id": string;
  /** A coupon of the catalogue, or `none`. */
  "coupon_id": string;
  /** Time until which the coupon can be used; UTC epoch seconds. */
  "expires_at": number;
  /** Probability with which the other system chose it. */
  "propensity"?: number | null;
  /** The coupons that it chose among. */
  "arms"?: (string)[];
  /** Anything else known at that moment. */
  "context"?: { [name: string]: string | number | boolean | null };
}

/** A shopper ordered; `discount_minor` is the discount by coupons of any system. */
export interface OrderEvent {
  /** Identifies the event: send the same id when you send it again. */
  "event_id": string;
  /** Identifies the shopper, and is the record's key. Send a pseudonym. */
  "user_id": string;
  /** Time of the event; UTC epoch seconds. */
  "occurred_at": number;
  /** Version of the message; another one is refused. */
  "schema_version"?: 1;
  /** Selects the coupons and the model: the `domain` of coupons in the catalogue. */
  "domain"?: string;
  /** Identifies the order in the shop. */
  "order_id": string;
  /** The items that were ordered. */
  "items"?: (Item)[];
  /** Value of the order. Decisions use the prices of its items. */
  "total_minor"?: number | null;
  /** Discount by coupons of any system. */
  "discount_minor"?: number | null;
  /** Currency of its money. An event in another currency than that of its domain is refused. */
  "currency"?: string | null;
  /** Anything else known at that moment. */
  "context"?: { [name: string]: string | number | boolean | null };
}

/** One contribution to a score: the feature, its value, its addition to the log-odds. */
export type Reason = [string, number, number];

/** Reasons why a record goes to dead-letters. */
export type Rejection = "from_the_future" | "invalid" | "late" | "no_key" | "not_json" | "not_signed" | "step_failed" | "too_large" | "unknown_issue" | "unknown_version" | "wrong_code" | "wrong_coupon" | "wrong_currency" | "wrong_key" | "wrong_partition";

/** An operator's approval of a campaign and its coupons as they are. */
export interface Signature {
  /** Name of the operator's key in `approval.keys`. */
  "name": string;
  /** Ed25519 signature of the campaign's terms and those of its coupons, in hexadecimal digits. */
  "signature": string;
}

/** A coupon of a staged campaign that a decision would have given. */
export type StagedCoupon = [string, number];

/** Values by topic; of dead-letters the headers. */
export interface Topics {
  "browse-events": BrowseEvent;
  "cart-events": CartEvent;
  "order-events": OrderEvent;
  "coupon-feedback": FeedbackEvent;
  "observed-issues": ObservedIssue;
  "erasure-requests": ErasureRequest;
  "coupon-catalog": Coupon;
  "coupon-campaigns": Campaign;
  "coupon-codes": CodeBlock;
  "coupon-issues": CouponIssue;
  "decisions": LoggedDecision;
  "dead-letters": DeadLetterHeaders;
}
