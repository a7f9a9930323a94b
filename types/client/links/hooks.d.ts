/** What a link tells of itself. */
/** @type {import('../types.js').Hooks} */
export const NO_HOOKS: import("../types.js").Hooks;
