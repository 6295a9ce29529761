"""The export formats, one file each: found here by `engine.exports.format`, named nowhere else."""
