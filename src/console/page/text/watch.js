// Words of watch.

export const fr = {};

export const en = {};
