// Words of find.

export const fr = {};

export const en = {};
