// What is known of the words of a prompt, from texts alone: the same rules as checkpoint/vocabulary.py.

const IN_WORD = /[\p{L}\p{M}\p{N}\p{So}\p{Cf}'\u2019]+/gu;
const APOSTROPHES = /^['\u2019]+|['\u2019]+$/g;
const normalise = (text) => text.normalize("NFC").toLowerCase();

// The words of a text with their places in it, without apostrophes around them.
const splitWords = (text) =>
  [...text.matchAll(IN_WORD)].flatMap((found) => {
    const word = found[0].replace(APOSTROPHES, "");
    const start = found.index + found[0].indexOf(word);
    return word ? [{ word, start, end: start + word.length }] : [];
  });

// The places of learned words, which may hold any characters; the longest come first.
const findLearned = (text, learned) => {
  const spans = [];
  for (const one of [...learned].sort((a, b) => b.length - a.length)) {
    for (let i = text.toLowerCase().indexOf(one.toLowerCase()); i >= 0; i = text.toLowerCase().indexOf(one.toLowerCase(), i + 1)) {
      const span = { start: i, end: i + one.length };
      if (!spans.some((other) => overlaps(span, other))) spans.push(span);
    }
  }
  return spans;
};

const overlaps = (one, other) => one.start < other.end && other.start < one.end;

// The unknown words of a text with their places. vocabulary is a Set of normalised words.
const findUnknown = (text, vocabulary, learned = []) => {
  if (!vocabulary.size) return [];
  const spans = findLearned(text, learned);
  let rest = text;
  for (const { start, end } of spans) rest = rest.slice(0, start) + " ".repeat(end - start) + rest.slice(end);
  return splitWords(rest).filter((one) => !vocabulary.has(normalise(one.word)));
};

// The same as Python's find_unknown: each unknown word once, normalised.
const nameUnknown = (text, vocabulary, learned = []) =>
  [...new Set(findUnknown(text, vocabulary, learned).map((one) => normalise(one.word)))];

// "a red house" with "orange" for "red": an article before it follows the word.
const replaceWord = (text, old, word) => {
  const before = text.slice(0, old.start).replace(/(^|[^\p{L}])(an?)(\s+)$/iu, (_, edge, article, gap) =>
    edge + matchArticle(article, word) + gap);
  return { text: before + word + text.slice(old.end), caret: before.length + word.length };
};

const matchArticle = (article, word) => {
  const right = /^[aeiou]/i.test(word) ? "an" : "a";
  return article[0] === "A" ? right[0].toUpperCase() + right.slice(1) : right;
};

// A text without a word, and without the blank or the comma that then stands twice.
const removeWord = (text, old) => {
  const left = text.slice(0, old.start).replace(/\s+$/, "");
  const right = text.slice(old.end).replace(/^\s+/, "");
  const loose = left.endsWith(",") || left === "" ? right.replace(/^,\s*/, "") : right;
  const gap = left && loose && !/^[,.;!?)]/.test(loose) ? " " : "";
  return { text: left + gap + loose, caret: left.length };
};

// A text with a word put in at a caret. comma: the word before it is of a part that ended.
const insertWord = (text, caret, word, comma) => {
  const left = text.slice(0, caret), right = text.slice(caret);
  const bare = left === "" || /[\s([{"]$/.test(left);
  const before = bare ? left : left + (comma && !/[,;.:!?]$/.test(left) ? ", " : " ");
  const middle = comma && bare && /[^\s,;.:!?([{"]\s+$/.test(left) ? `${left.replace(/\s+$/, "")}, ` : before;
  const after = /^[\p{L}\p{N}]/u.test(right) ? ` ${right}` : right;
  return { text: middle + word + after, caret: middle.length + word.length };
};
