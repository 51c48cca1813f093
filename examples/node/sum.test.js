const assert = require("node:assert");
const test = require("node:test");

test("numbers add up", () => {
  assert.strictEqual([1, 2, 3].reduce((total, number) => total + number, 0), 6);
});
