// Words of desk.

export const fr = {};

export const en = {};
