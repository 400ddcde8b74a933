package material

import (
	"steelyard/configs"
	"steelyard/internal/config"
)

// Open reads a catalogue from its file, or the built-in one when path is empty.
func Open(path string) (*Catalogue, error) {
	if path == "" {
		data, err := configs.Files.ReadFile("materials.yaml")
		if err != nil {
			return nil, err
		}
		return Parse("materials.yaml", data)
	}
	data, err := config.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}
