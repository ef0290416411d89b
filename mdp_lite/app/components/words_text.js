// What is known of the words of a prompt, from texts alone: the same rules as checkpoint/vocabulary.py.

const IN_WORD = /[\p{L}\p{M}\p{N}\p{So}\p{Cf}'\u2019]+/gu;
const APOSTROPHES = /^['\u2019]+|['\u2019]+$/g;
const normalise = (text) => text.normalize("NFC").toLowerCase();

const GRAPHEMES = new Intl.Segmenter("en", { granularity: "grapheme" });

// A text in its normal form, and for each of its units where it comes from in the text.
const fold = (text) => {
  const places = [];
  let composed = "";
  for (const { segment, index } of GRAPHEMES.segment(text)) {
    const one = segment.normalize("NFC").replaceAll("\u0130", "i\u0307");  // else it grows below
    composed += one;
    for (let i = 0; i < one.length; i += 1) places.push(index);
  }
  return { folded: composed.toLowerCase(), places: [...places, text.length] };
};

const splitFolded = (folded, places) =>
  [...folded.matchAll(IN_WORD)].flatMap((found) => {
    const word = found[0].replace(APOSTROPHES, "");
    const start = found.index + found[0].indexOf(word);
    return word ? [{ word, start: places[start], end: places[start + word.length] }] : [];
  });

// The words of a text in their normal form, and their places in the text.
const splitWords = (text) => {
  const { folded, places } = fold(text);
  return splitFolded(folded, places);
};

// A normal form without learned words, which may hold any characters; the longest go first.
const blankLearned = (folded, learned) =>
  [...learned].map(normalise).sort((a, b) => b.length - a.length).reduce(
    (text, one) => text.replaceAll(one, () => " ".repeat(one.length)), folded);

// The unknown words of a text with their places. vocabulary is a Set of normalised words.
const findUnknown = (text, vocabulary, learned = []) => {
  if (!vocabulary.size) return [];
  const { folded, places } = fold(text);
  return splitFolded(blankLearned(folded, learned), places).filter((one) => !vocabulary.has(one.word));
};

// The same as Python's find_unknown: each unknown word once, normalised.
const nameUnknown = (text, vocabulary, learned = []) =>
  [...new Set(findUnknown(text, vocabulary, learned).map((one) => one.word))];

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
