"""What the page's terms mean, in a sentence or two each; shown where a term stands."""

from __future__ import annotations

TERMS = {
    "read": "Samples found in the tars: an image with the files of its name beside it.",
    "kept": "Passes every filter, and no image that claims to be kept before it is within eps of"
    " it. It is in the curated tars.",
    "duplicate": "Lies within eps of an image that is kept, which stands for it. It is removed.",
    "filtered": "Breaks a rule of the settings, such as a smallest sharpness. It is removed before"
    " duplicates are looked for.",
    "unreadable": "Could not be decoded: cut, empty, or no image at all. It is removed.",
    "removed": "Unreadable, filtered or a duplicate; as a share of the images read.",
    "eps": "Two images are near-duplicates if the cosine of their embeddings is at least 1 - eps."
    " A larger eps removes more.",
    "max_eps": "Pairs are stored up to this eps, so that any eps up to it can be tried without a"
    " new search.",
    "cosine": "Cosine similarity of two embeddings: 1 for images that look the same to the model,"
    " less for others.",
    "model": "The network whose embeddings say how alike two images are, and the tag of its"
    " pretrained weights.",
    "search": "How near-duplicate pairs are found. Exact compares every pair that could lie within"
    " max_eps; fast looks into fewer cells and may miss some.",
    "trust": "Each part was measured on the stored tables of this very report, or it says that it"
    " was not. Recall is the share of the pairs found by brute force on a sample that the search"
    " found as well.",
    "guess": "What was done to the removed copy, told from the pixels, sizes and files of both;"
    " nothing where that can't be told.",
    "group": "A kept image and all those that it stands for.",
    "shard": "A tar of samples. Each becomes one curated tar, unless nothing of it is kept.",
    "step": "A sample counts for the first step that removes it.",
    "share_read": "As a share of the samples read.",
    "left": "Images that are left after this step.",
    "image_bytes": "Sizes of the image files, not of whole tars.",
    "removed_at": "Images that would be removed as duplicates at this eps, by resolving the stored"
    " pairs anew.",
    "takes_part": "Only what can be read and passes the filters takes part in deduplication; the"
    " share is of those.",
    "band": "Pairs whose cosine lies in this range; 1 is one band of its own.",
    "band_eps": "The smallest eps that takes in all pairs of the band: 1 - cosine.",
    "pairs": "Removed images of this band, or those that a larger eps would remove.",
    "marked": "Pairs that people marked as duplicate or different.",
    "marked_duplicate": "Marked pairs that are real duplicates.",
    "precision": "The share of marked pairs that are real duplicates.",
    "interval": "With 95 % confidence the true share lies in this interval (Wilson's); more marks"
    " make it narrower.",
    "threshold": "The bound of a filter rule; the chosen one is marked.",
    "keeps": "Readable images that this bound alone would keep.",
    "keeps_share": "As a share of the readable images.",
    "score": "A number an image has: a statistic of its pixels, or the output of a score head.",
    "group_size": "Images of a group, the kept one included.",
    "n_groups": "Groups of this size.",
    "format": "File format of the image, by its content.",
    "size": "Width times height, in megapixels.",
    "folder": "Folder of the shard below the source.",
    "by_verdict": "Images by what became of them, drawn to the same width in each row.",
    "cluster": "Images whose embedding lies nearest to the same centroid; the search looks there"
    " first.",
    "centroid": "The mean embedding of a cluster, found by k-means.",
    "change": "A number of the summary, or a setting, that differs from the last report.",
    "difference": "By how much a number grew.",
    "not_taken": "Tars, or files that look like them, that lie in the source and are not curated,"
    " and shards whose tars are gone.",
    "since": "When a refresh first saw it so.",
    "setting": "A key of curator.yaml.",
    "width": "Width in pixels, upright.",
    "height": "Height in pixels, upright.",
    "n_images": "Image members of a sample; one of them decides.",
    "n_bytes": "Size of the image file.",
    "aspect_ratio": "Width divided by height.",
    "mean_luminance": "Mean brightness of the picture that the model is shown, from 0 (black) to 1"
    " (white).",
    "sharpness": "Variance of the Laplacian of that picture; low if it is blurred or empty.",
    "constant_rows_fraction": "Share of the rows at the bottom of the image that have one colour"
    " each; high where a JPEG was cut.",
    "has_alpha": "1 if some pixel is transparent, else 0.",
}
"""Term -> its meaning. Terms are parts of HTML ids."""
